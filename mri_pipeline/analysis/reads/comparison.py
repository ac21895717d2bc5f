"""Comparison of two reads of one visit by the limits of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.reading_settings import Comparison
from mri_pipeline.core.records import VisitCounts
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.components import numbers_of
from mri_pipeline.lesions.tracking.gel import label_gel, overlaps
from mri_pipeline.lesions.tracking.track import count_subject


@dataclass(frozen=True)
class Disagreement:
    """A limit that two reads exceed.

    Parameters
    ----------
    limit : str
        Name of the setting (`core.reading_settings.Comparison`).
    found : float
        The difference.
    allowed : float
    """

    limit: str
    found: float
    allowed: float


@dataclass(frozen=True)
class ReadSeries:
    """The masks of one reader that a comparison needs.

    Parameters
    ----------
    now : VisitMasks
        The compared visit.
    before : VisitMasks or None
        The previous analysed visit. None if there is none.
    """

    now: VisitMasks
    before: VisitMasks | None

    def counts(self, location: LabelImage, rules: LesionRules) -> VisitCounts:
        """The numbers of the visit under this read.

        Parameters
        ----------
        location : LabelImage
            Location map of the subject.
        rules : LesionRules

        Returns
        -------
        VisitCounts
        """
        visits = [self.now] if self.before is None else [self.before, self.now]
        weeks: dict[str, int | None] = {masks.visit: None for masks in visits}
        return count_subject("", visits, location, rules, weeks).visits[-1]


def compare_reads(
    first: ReadSeries, second: ReadSeries, location: LabelImage, rules: LesionRules, limits: Comparison
) -> list[Disagreement]:
    """Compare two reads of a visit.

    Parameters
    ----------
    first, second : ReadSeries
        On one grid. The order changes nothing.
    location : LabelImage
        Location map of the subject.
    rules : LesionRules
    limits : Comparison

    Returns
    -------
    list of Disagreement
        Empty if the reads agree.
    """
    return [
        Disagreement(name, found, allowed)
        for name, found, allowed in _differences(first, second, location, rules, limits)
        if found > allowed
    ]


def _differences(
    first: ReadSeries, second: ReadSeries, location: LabelImage, rules: LesionRules, limits: Comparison
) -> Iterator[tuple[str, float, float]]:
    a, b = first.counts(location, rules), second.counts(location, rules)
    yield "max_gel_count_difference", abs((a.gel_count or 0) - (b.gel_count or 0)), limits.max_gel_count_difference
    if limits.gel_seen_by_one:
        yield "gel_seen_by_one", _seen_by_one(first.now, second.now, rules), 0
    new = abs((a.new_t2_count or 0) - (b.new_t2_count or 0))
    yield "max_new_t2_count_difference", new, limits.max_new_t2_count_difference
    volumes = (a.t2_volume_ml or 0.0, b.t2_volume_ml or 0.0)
    mean = sum(volumes) / 2
    percent = 100 * abs(volumes[0] - volumes[1]) / mean if mean else 0.0
    yield "max_t2_volume_difference_percent", round(percent, 6), limits.max_t2_volume_difference_percent


def _seen_by_one(first: VisitMasks, second: VisitMasks, rules: LesionRules) -> int:
    """Number of GEL of either read that overlap no GEL of the other."""
    if first.gel is None or second.gel is None:
        return 0
    a, b = label_gel(first.gel, rules), label_gel(second.gel, rules)
    shared = overlaps(a, b)
    alone = set(numbers_of(a)) - {i for i, _ in shared}, set(numbers_of(b)) - {j for _, j in shared}
    return sum(map(len, alone))
