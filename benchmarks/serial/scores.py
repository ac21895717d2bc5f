"""Score of one simulated visit against its truth: counts, and found and missed lesions at their location."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_labels
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import Affine, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.components import label_lesions, lesion_volumes_mm3
from mri_pipeline.phantom.subject import SimulatedSubject, truth_masks
from mri_pipeline.phantom.truth import SubjectTruth, TrueLesion

FOUND_SHARE = 0.1
"""A lesion is found if at least a tenth of its volume is covered (docs/definitions.md)."""
KINDS = ("t2", "new", "enlarging", "gel")
_MASKS = {
    "t2": MaskLabel.T2_LESION,
    "new": MaskLabel.NEW_T2,
    "enlarging": MaskLabel.ENLARGING_T2,
    "gel": MaskLabel.GEL,
}
_T2_STATES = {"new": T2State.NEW, "enlarging": T2State.ENLARGING}


@dataclass(frozen=True)
class ScoredLesion:
    """A true or found lesion and its overlap.

    Parameters
    ----------
    number : int
        Number of the true lesion, or of the found component at this visit.
    diameter_mm : float
        Diameter of the sphere of equal volume.
    share : float
        Share that is covered by lesions of this kind of the other side (found or true).
    on : int
        Number of the true T2 lesion with the largest overlap with a found lesion; 0 if there is none.
    """

    number: int
    diameter_mm: float
    share: float
    on: int = 0

    @property
    def matched(self) -> bool:
        """True if the other side has this lesion."""
        return self.share >= FOUND_SHARE


def diameter_mm(volume_mm3: float) -> float:
    """Diameter of the sphere of this volume."""
    return float((6.0 * volume_mm3 / np.pi) ** (1.0 / 3.0))


def looked_up(labels: LabelImage, source: LabelImage, source_to_labels: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Labels of `source` and of `labels` (0 for none) at points within the labelled voxels of `source`.

    The points are about 1 mm apart, because the centre of a voxel does not represent a slice of 3 mm.
    """
    voxels = np.argwhere(source.mask)
    steps = [max(1, round(spacing)) for spacing in source.grid.spacing_mm]
    within = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in steps], indexing="ij")
    points = (voxels[:, None, :] + np.stack(within, axis=-1).reshape(-1, 3)).reshape(-1, 3)
    world = source_to_labels.points(source.grid.world(points))
    to_index = np.linalg.inv(labels.grid.affine)
    index = np.rint(world @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < np.array(labels.grid.shape))).all(axis=1)
    there = np.zeros(len(points), dtype=np.int64)
    there[inside] = labels.data[tuple(index[inside].T)]
    return np.repeat(source.data[tuple(voxels.T)].astype(np.int64), int(np.prod(steps))), there


def _most(values: np.ndarray) -> int:
    """Most frequent value above 0, or 0."""
    counts = np.bincount(values, minlength=1)
    counts[0] = 0
    return int(counts.argmax()) if counts.any() else 0


def both_sides(
    true: LabelImage, wanted: Collection[int], found: LabelImage, true_to_found: Affine, lesions: LabelImage
) -> dict[str, list[ScoredLesion]]:
    """True lesions of `wanted` and found lesions, each with the share that the other side covers.

    `lesions` are all true T2 lesions. They identify the lesion on which a found lesion lies.
    """
    chosen = LabelImage(np.where(np.isin(true.data, sorted(wanted)), true.data, 0), true.grid)
    numbers, there = looked_up(found, chosen, true_to_found)
    ours, back = looked_up(chosen, found, true_to_found.inverse())
    _, on = looked_up(lesions, found, true_to_found.inverse())
    true_mm3, found_mm3 = lesion_volumes_mm3(true), lesion_volumes_mm3(found)
    sides: dict[str, list[ScoredLesion]] = {"true": [], "found": []}
    for n in sorted(wanted):
        here = there[numbers == n] > 0
        share = float(here.mean()) if here.size else 0.0
        sides["true"].append(ScoredLesion(n, diameter_mm(true_mm3.get(n, 0.0)), share))
    for n in np.unique(ours):
        here = ours == n
        share = float((back[here] > 0).mean())
        sides["found"].append(ScoredLesion(int(n), diameter_mm(found_mm3[int(n)]), share, _most(on[here])))
    return sides


def _wanted(truth: Iterable[TrueLesion], visit: str, kind: str) -> set[int]:
    records = [t.record for t in truth if t.record.visit == visit and t.record.t2_state is not T2State.VANISHED]
    if kind == "t2":
        return {r.lesion_id for r in records}
    if kind == "gel":
        return {r.lesion_id for r in records if r.enhancing}
    return {r.lesion_id for r in records if r.t2_state is _T2_STATES[kind]}


def score_visit(
    subject: SimulatedSubject,
    truth: SubjectTruth,
    visit: str,
    derivatives: DerivativeDataset,
    true_to_found: Affine,
) -> dict[str, dict[str, list[ScoredLesion]]]:
    """True and found lesions of each kind at one visit. Kinds without a mask (first visit) are omitted."""
    masks = truth_masks(subject, visit)
    result = {}
    for kind in KINDS:
        path = derivatives.mask(truth.subject, visit, _MASKS[kind])
        if not path.is_file():
            continue
        mask = load_labels(path)
        found = label_lesions(mask.mask, mask.grid, min_volume_mm3=0.0)
        true = masks["gel" if kind == "gel" else "t2"]
        result[kind] = both_sides(true, _wanted(truth.lesions, visit, kind), found, true_to_found, masks["t2"])
    return result


def true_to_found(derivatives: DerivativeDataset, subject: str, visit: str, pose: Affine) -> Affine:
    """Transform from the simulated to the analysed subject space: true pose of the FLAIR, then our transform."""
    return load_transform(derivatives.transform(subject, visit, Contrast.FLAIR)) @ pose
