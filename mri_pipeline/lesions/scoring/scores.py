"""Scores of a lesion mask against a reference: overlap, volume, and lesion-wise detection.

The rules are those of docs/definitions.md, "How accuracy is scored". Lesions are defined in `components`. Lesion-wise
scores alone are not sufficient: a mask of the whole brain detects every lesion. One object therefore holds all scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mri_pipeline.core.scoring import SCORING
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.lesions.components import label_lesions, lesion_centroids_mm, lesion_volumes_mm3

LEAST_MM3 = SCORING.least_mm3
COVERED = SCORING.covered
ANIMA_ALPHA, ANIMA_BETA, ANIMA_GAMMA = (
    SCORING.anima_alpha,
    SCORING.anima_beta,
    SCORING.anima_gamma,
)
_MM3_PER_ML = 1000.0


class Rule(StrEnum):
    """Rule by which a lesion counts as detected."""

    TENTH = "10 % rule"
    ANIMA = "Anima's rule"


@dataclass(frozen=True)
class ScoredLesion:
    """A lesion of one mask and its detection by the other mask.

    Parameters
    ----------
    number : int
        Number by descending volume, from 1 (`components.label_lesions`).
    volume_mm3 : float
    centre_mm : tuple of float
        Centre of mass in world mm (RAS).
    covered : float
        Fraction of its volume that the other mask covers, 0 to 1.
    found : frozenset of Rule
        Rules by which it is detected.
    """

    number: int
    volume_mm3: float
    centre_mm: tuple[float, float, float]
    covered: float
    found: frozenset[Rule]


@dataclass(frozen=True)
class Detection:
    """Numbers of lesions detected by one rule; a ratio is None if its denominator is 0.

    Parameters
    ----------
    references, references_found : int
        Reference lesions, and how many of them were detected.
    predictions, predictions_true : int
        Predicted lesions, and how many of them are true.
    """

    references: int
    references_found: int
    predictions: int
    predictions_true: int

    @property
    def recall(self) -> float | None:
        """Fraction of the reference lesions that were detected; None without reference lesions."""
        return self.references_found / self.references if self.references else None

    @property
    def precision(self) -> float | None:
        """Fraction of the predicted lesions that are true (the rule with the masks exchanged); None without any."""
        return self.predictions_true / self.predictions if self.predictions else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision; 0 if only one mask has lesions, None if neither has.

        Examples
        --------
        >>> Detection(4, 2, 5, 5).f1, Detection(4, 0, 0, 0).f1, Detection(0, 0, 0, 0).f1
        (0.6666666666666666, 0.0, None)
        """
        if not self.references and not self.predictions:
            return None
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


@dataclass(frozen=True)
class MaskScores:
    """Scores of one predicted mask against its reference.

    Parameters
    ----------
    dice : float or None
        Dice coefficient; None if both masks are empty.
    reference_ml, predicted_ml : float
        Volumes of the whole masks in mL, including components of any size.
    references, predictions : tuple of ScoredLesion
        Lesions of at least `LEAST_MM3`.
    references_below, predictions_below : int
        Numbers of smaller components; they count only in Dice and volume.
    """

    dice: float | None
    reference_ml: float
    predicted_ml: float
    references: tuple[ScoredLesion, ...]
    predictions: tuple[ScoredLesion, ...]
    references_below: int
    predictions_below: int

    @property
    def difference_ml(self) -> float:
        """Predicted minus reference volume in mL."""
        return self.predicted_ml - self.reference_ml

    @property
    def difference_percent(self) -> float | None:
        """Volume difference in per cent of the reference volume; None if the reference is empty."""
        return 100 * self.difference_ml / self.reference_ml if self.reference_ml else None

    def detection(self, rule: Rule) -> Detection:
        """Lesion-wise detection by a rule.

        Parameters
        ----------
        rule : Rule

        Returns
        -------
        Detection
            Of the lesions of at least `LEAST_MM3`.
        """
        return Detection(
            len(self.references),
            sum(rule in lesion.found for lesion in self.references),
            len(self.predictions),
            sum(rule in lesion.found for lesion in self.predictions),
        )


def score_masks(predicted: LabelImage, reference: LabelImage) -> MaskScores:
    """Score a predicted mask against a reference mask; the numbering of the lesions does not matter.

    Parameters
    ----------
    predicted, reference : LabelImage
        On one grid; every label above 0 is lesion. Either may be empty.

    Returns
    -------
    MaskScores

    Raises
    ------
    GridMismatchError
        If the grids differ; masks are not resampled.

    Examples
    --------
    >>> from mri_pipeline.core.spatial import Grid
    >>> reference, predicted = np.zeros((2, 8, 8, 8), dtype=bool)
    >>> reference[1:3, 1:3, 1:3] = predicted[2:4, 1:3, 1:3] = True
    >>> grid = Grid(reference.shape, np.eye(4))
    >>> scores = score_masks(LabelImage(predicted, grid), LabelImage(reference, grid))
    >>> scores.dice, scores.references[0].covered, scores.detection(Rule.TENTH).f1
    (0.5, 0.5, 1.0)
    """
    reference.grid.require_same(predicted.grid, "predicted mask")
    truth, found = reference.mask, predicted.mask
    truths, n_truths = _lesions(reference)
    founds, n_founds = _lesions(predicted)
    table = _overlaps(truths, founds)
    total = int(np.count_nonzero(truth)) + int(np.count_nonzero(found))
    scored_truths = _scored(truths, found, _anima(table))
    scored_founds = _scored(founds, truth, _anima(table.T.tocsr()))
    return MaskScores(
        dice=2 * int(np.count_nonzero(truth & found)) / total if total else None,
        reference_ml=reference.volume_mm3 / _MM3_PER_ML,
        predicted_ml=predicted.volume_mm3 / _MM3_PER_ML,
        references=scored_truths,
        predictions=scored_founds,
        references_below=n_truths - len(scored_truths),
        predictions_below=n_founds - len(scored_founds),
    )


def _lesions(mask: LabelImage) -> tuple[LabelImage, int]:
    """Lesions of at least `LEAST_MM3`, and the number of components of any volume."""
    labels = label_lesions(mask.mask, mask.grid, min_volume_mm3=0.0)
    large = label_lesions(mask.mask, mask.grid, min_volume_mm3=LEAST_MM3)
    return large, int(labels.data.max())


def _overlaps(rows: LabelImage, columns: LabelImage) -> sparse.csr_array:
    """Table of the number of voxels shared by label i of `rows` and label j of `columns`; 0 is background."""
    used = rows.mask | columns.mask
    shape = (int(rows.data.max()) + 1, int(columns.data.max()) + 1)
    pairs = (rows.data[used].astype(np.int64), columns.data[used].astype(np.int64))
    table = sparse.coo_array((np.ones(len(pairs[0]), dtype=np.int64), pairs), shape=shape)
    return sparse.csr_array(table)


def _anima(table: sparse.csr_array) -> NDArray[np.bool_]:
    """True for row lesions detected by Anima's rule, from the table of `_overlaps`; index 0 is background."""
    sizes = np.asarray(table.sum(axis=0)).ravel()
    outside = table[[0]].toarray().ravel() / np.maximum(sizes, 1)
    found = np.zeros(table.shape[0], dtype=bool)
    for lesion in range(1, table.shape[0]):
        row = table[[lesion]]
        others, shared = row.indices, row.data
        covering = shared * (others > 0)
        total = int(covering.sum())
        if not total / int(shared.sum()) > ANIMA_ALPHA:
            continue
        order = np.lexsort((others, -covering))
        order = order[others[order] > 0]
        before = np.cumsum(covering[order]) - covering[order]
        looked_at = order[before / total < ANIMA_GAMMA]
        found[lesion] = not (outside[others[looked_at]] > ANIMA_BETA).any()
    return found


def _scored(labels: LabelImage, other: BoolArray, anima: NDArray[np.bool_]) -> tuple[ScoredLesion, ...]:
    volumes, centres = lesion_volumes_mm3(labels), lesion_centroids_mm(labels)
    size = np.bincount(labels.data.ravel(), minlength=len(volumes) + 1)
    covered = np.bincount(labels.data[other], minlength=len(size)) / np.maximum(size, 1)
    return tuple(
        ScoredLesion(
            number=number,
            volume_mm3=volume,
            centre_mm=(float(centres[number][0]), float(centres[number][1]), float(centres[number][2])),
            covered=float(covered[number]),
            found=frozenset(
                rule
                for rule, met in ((Rule.TENTH, covered[number] >= COVERED), (Rule.ANIMA, anima[number]))
                if met
            ),
        )
        for number, volume in volumes.items()
    )
