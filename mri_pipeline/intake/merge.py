"""Merge series that are parts of one volume: slices of one acquisition under several series UIDs.

Consoles and archives split a scan in two halves, or into odd and even slices. Each part looks like a whole series with
few slices or with gaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from mri_pipeline.core.spatial import FloatArray
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.geometry import IRREGULAR_SPACING, NORMAL_LENGTH, SAME_PLACE_MM

SAME_AXIS_MM: Final = 0.1
"""Parts of one volume have the same in-plane position within this distance. Headers are rounded to about 0.01 mm."""

OVERLAPPED_SLICES: Final = 0.9
"""Least slice distance of a merged volume, relative to the thickness, if the header states no slice distance. Two scans
that were repeated half a slice apart are not parts of one volume."""

GAPPED: Final = 1.5
"""A series whose slices lie farther apart than this multiple of the slice distance lacks slices."""

REPEATED_OVERLAP: Final = 0.5
"""Scans that overlap by more than this share of the shorter one are repetitions, not parts."""


@dataclass(frozen=True)
class MergedInstances:
    """Images of an upload after merging.

    Parameters
    ----------
    instances : tuple of InstanceFacts
        All images. The parts of a volume have one series key.
    merged : mapping of str to int
        Number of series of each merged volume, by its series key.
    unfit : frozenset of str
        Keys of series that look like parts of one volume and do not form one.
    """

    instances: tuple[InstanceFacts, ...]
    merged: Mapping[str, int]
    unfit: frozenset[str]


@dataclass(frozen=True, eq=False)
class _Part:
    """Series with one image per position: depths along the normal in mm, sorted, and its in-plane position."""

    key: str
    depths: FloatArray
    axis_mm: FloatArray
    slice_mm: float
    started_s: float

    @property
    def gapped(self) -> bool:
        return len(self.depths) < 2 or float(np.diff(self.depths).max()) > GAPPED * self.slice_mm


def merge_parts(instances: Sequence[InstanceFacts]) -> MergedInstances:
    """Give parts of one volume the same series key.

    Series of one protocol, orientation and frame of reference are merged if they share no position and all their slices
    together have one distance. A series whose positions are all contained in another one is a repetition, and so are
    whole series that overlap by more than half.

    Parameters
    ----------
    instances : sequence of InstanceFacts

    Returns
    -------
    MergedInstances
    """
    groups: dict[tuple[object, ...], dict[str, list[InstanceFacts]]] = defaultdict(lambda: defaultdict(list))
    for instance in instances:
        groups[_protocol(instance)][instance.series_key].append(instance)
    new_keys: dict[tuple[tuple[object, ...], str], str] = {}
    merged: dict[str, int] = {}
    unfit: set[str] = set()
    for protocol, by_series in groups.items():
        parts = _distinct([p for p in map(_part, by_series.values()) if p is not None])
        if len(parts) < 2:
            continue
        if _form_one_volume(parts):
            first = min(parts, key=lambda p: p.started_s).key
            merged[first] = len(parts)
            new_keys |= {(protocol, part.key): first for part in parts}
        else:
            unfit |= {part.key for pair in combinations(parts, 2) if _are_pieces(*pair) for part in pair}
    relabelled = tuple(
        i.model_copy(update={"series_key": new_keys.get((_protocol(i), i.series_key), i.series_key)})
        if new_keys else i
        for i in instances
    )  # fmt: skip
    return MergedInstances(relabelled, merged, frozenset(unfit))


def _protocol(instance: InstanceFacts) -> tuple[object, ...]:
    def rounded(values: Sequence[float] | None, digits: int) -> tuple[float, ...] | None:
        return None if values is None else tuple(round(v, digits) + 0.0 for v in values)

    return (
        instance.kind, instance.study_key, instance.scanner_key,
        instance.frame_of_reference_key, rounded(instance.orientation, 2), instance.rows, instance.columns,
        rounded(instance.pixel_spacing_mm, 3), instance.thickness_mm, instance.slice_distance_mm,
        instance.repetition_time_ms, instance.echo_time_ms, instance.inversion_time_ms, instance.flip_angle_deg,
        instance.b_value, instance.sequence_name, instance.acquisition_type, instance.scanning_sequence,
        instance.sequence_variant, instance.image_type, instance.contrast_agent,
    )  # fmt: skip


def _part(group: Sequence[InstanceFacts]) -> _Part | None:
    """None if the series has no geometry, or several images per position."""
    first = group[0]
    unique = {i.instance_key: i for i in group}.values()
    positions = np.array([p for i in unique for p in i.positions], dtype=float)
    if first.orientation is None or len(positions) == 0:
        return None
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    length = float(np.linalg.norm(normal))
    if not NORMAL_LENGTH[0] < length < NORMAL_LENGTH[1]:
        return None
    depths = np.sort(positions @ (normal / length))
    if len(depths) > 1 and float(np.diff(depths).min()) <= SAME_PLACE_MM:
        return None
    in_plane = np.stack([positions @ np.array(first.orientation[:3]), positions @ np.array(first.orientation[3:])])
    distance = first.slice_distance_mm or 0.0
    thickness = first.thickness_mm or 1.0
    # some headers state the gap in place of the distance
    slice_mm = distance if distance >= 0.5 * thickness else thickness
    started = min((i.acquired_s for i in group if i.acquired_s is not None), default=np.inf)
    return _Part(first.series_key, depths, np.median(in_plane, axis=1), slice_mm, started)


def _distinct(parts: Sequence[_Part]) -> list[_Part]:
    """Parts without those whose positions are all contained in another one; of equal ones the last."""
    kept: list[_Part] = []
    for part in sorted(parts, key=lambda p: (-len(p.depths), -p.started_s)):
        if not any(_shared(part, other) == len(part.depths) for other in kept):
            kept.append(part)
    return kept


def _shared(part: _Part, other: _Part) -> int:
    """Number of positions of a part that another one has."""
    if not _same_axis(part, other):
        return 0
    apart = np.abs(part.depths[:, None] - other.depths[None, :])
    return int((apart.min(axis=1) <= SAME_PLACE_MM).sum())


def _same_axis(part: _Part, other: _Part) -> bool:
    return bool(np.abs(part.axis_mm - other.axis_mm).max() <= SAME_AXIS_MM)


def _form_one_volume(parts: Sequence[_Part]) -> bool:
    if not all(_same_axis(parts[0], part) for part in parts[1:]):
        return False
    distances = np.diff(np.sort(np.concatenate([part.depths for part in parts])))
    spacing = float(np.median(distances))
    regular = bool((np.abs(distances - spacing) <= IRREGULAR_SPACING * spacing).all())
    return regular and OVERLAPPED_SLICES * parts[0].slice_mm <= spacing <= GAPPED * parts[0].slice_mm


def _are_pieces(one: _Part, other: _Part) -> bool:
    """True unless the two are repetitions: whole scans that overlap by more than half of the shorter one."""
    if not _same_axis(one, other):
        return False
    length = min(float(np.ptp(part.depths)) for part in (one, other))
    overlap = min(one.depths[-1], other.depths[-1]) - max(one.depths[0], other.depths[0])
    return one.gapped or other.gapped or float(overlap) < REPEATED_OVERLAP * length
