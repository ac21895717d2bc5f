"""Evaluation of predicted against reference masks: scores, CSV files and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_pipeline.core.errors import GridMismatchError, ImageError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.lesions.scoring.scores import MaskScores, Rule, ScoredLesion, score_masks
from mri_pipeline.lesions.scoring.summary import by_size, spread, volume_agreement
from mri_pipeline.tables.columns import POSITION_MM_DECIMALS, VOLUME_ML_DECIMALS, VOLUME_MM3_DECIMALS, Cell, Row
from mri_pipeline.tables.io import csv_text
from mri_pipeline.tables.rows import quantised
from qc.reports.evaluation import MEASURES, EvaluatedCase, evaluation_html
from reading_centre.use_cases.analysis.mask_pairs import Pair

PAGE = "evaluation.html"
_MOST_LABELS, _MOST_FOREGROUND = 64, 0.10  # together they distinguish an intensity image from numbered lesions
_FEW_LABELS, _LEAST_EQUAL = 10, 0.5
"""With more labels than the first, neighbouring labelled voxels have one label in at least this share of the pairs.
Numbered connected components have 1.00 by definition. Ten real masks have at least 0.66 if every lesion is cut into
cubes of 3 voxels. A real FLAIR has 0.49 with 10 grey levels, 0.30 with 20 and 0.12 with 64."""


def score_pair(pair: Pair) -> EvaluatedCase:
    """Load and score one pair.

    Parameters
    ----------
    pair : Pair

    Returns
    -------
    EvaluatedCase

    Raises
    ------
    ImageError
        If a mask cannot be used or the grids differ; the message names the case.
    UsageError
        If both paths are the same file.
    """
    try:
        predicted, reference = _mask(pair.predicted), _mask(pair.reference)
        predicted = predicted.with_axes_of(reference.grid)
        scores = score_masks(predicted, reference)
    except ImageError as error:
        raise type(error)(
            f"case {pair.case}: {error.message}", hint=_HINTS.get(type(error), error.hint)
        ) from error
    if pair.predicted.samefile(pair.reference):
        raise UsageError(
            f"case {pair.case}: predicted and reference mask are the same file", hint="name another reference"
        )
    relabelled = any(int(mask.data.max()) > 1 for mask in (predicted, reference))
    return EvaluatedCase(pair.case, scores, pair.tuned_on, relabelled)


def _mask(path: Path) -> LabelImage:
    """Load a mask or numbered lesions.

    Raises
    ------
    ImageError
        If it cannot be read, or if it is an intensity image: many values in a large part of the volume, or values
        that change from voxel to voxel.
    """
    mask = nifti.load_labels(path)
    values = np.unique(mask.data[mask.mask])
    share = float(np.mean(mask.mask))
    found = ""
    if len(values) > _MOST_LABELS and share > _MOST_FOREGROUND:
        found = f"with {len(values)} values in {100 * share:.0f} % of its volume"
    elif len(values) > _FEW_LABELS and (equal := _equal_neighbours(mask.data)) < _LEAST_EQUAL:
        found = f"with the same value in only {100 * equal:.0f} % of the pairs of neighbouring voxels"
    if found:
        raise ImageError(
            f"expected a lesion mask, found {path.name} {found}",
            hint="it looks like an intensity image: name the mask instead",
        )
    return mask


def _equal_neighbours(labels: NDArray[Any]) -> float:
    """Share of the pairs of labelled voxels with a common face that have one label; 1 where there is no pair."""
    pairs = equal = 0
    for axis in range(labels.ndim):
        along = np.moveaxis(labels, axis, 0)
        both = (along[1:] > 0) & (along[:-1] > 0)
        pairs += int(np.count_nonzero(both))
        equal += int(np.count_nonzero(both & (along[1:] == along[:-1])))
    return equal / pairs if pairs else 1.0


_HINTS: Mapping[type[ImageError], str] = {
    GridMismatchError: "masks are compared voxel by voxel: bring the predicted mask to the grid of the reference"
}


def evaluate(pairs: Sequence[Pair], out: Path, *, data: str) -> dict[str, Any]:
    """Score all pairs and write ``evaluation.html``, ``cases.csv``, ``lesions.csv`` and ``sizes.csv``.

    Parameters
    ----------
    pairs : sequence of Pair
        At least one.
    out : Path
        Output folder; created if missing. Nothing is written if a pair cannot be scored.
    data : str
        Name of the data, for the report.

    Returns
    -------
    dict
        Mean over the cases by measure, agreement of volumes, number of cases.

    Raises
    ------
    ImageError
        As `score_pair`.
    """
    out.mkdir(
        parents=True, exist_ok=True
    )  # before the work, so that a folder that cannot be created is reported at once
    for name in (PAGE, *TABLES):
        (out / name).unlink(missing_ok=True)  # remove files of an earlier run
    cases = [score_pair(pair) for pair in pairs]
    scores = [case.scores for case in cases]
    lesions = [row for case in cases for row in _lesion_rows(case)]
    contents = ([_case_row(case) for case in cases], lesions, _size_rows(scores))
    for (name, columns), rows in zip(TABLES.items(), contents, strict=True):
        write_atomic(out / name, csv_text(columns, rows))
    write_atomic(out / PAGE, evaluation_html(cases, data=data))
    means = {name: spread(scores, measure) for name, measure in MEASURES.items()}
    agreement = volume_agreement([s.reference_ml for s in scores], [s.predicted_ml for s in scores])
    return {
        "cases": len(cases),
        **{name: None if found is None else round(found.mean, 4) for name, found in means.items()},
        "volume_correlation": None if agreement.correlation is None else round(agreement.correlation, 4),
        "page": str(out / PAGE),
    }


_CASE_COLUMNS = (
    "case", "tuned_on", "reference_ml", "predicted_ml", "reference_lesions", "predicted_lesions", *MEASURES,
    "reference_components_below_3_mm3", "predicted_components_below_3_mm3",
)  # fmt: skip
_LESION_COLUMNS = (
    "case", "mask", "lesion", "volume_mm3", "x_mm", "y_mm", "z_mm", "covered", "found_10_percent", "found_anima",
)  # fmt: skip
_SIZE_COLUMNS = (
    "volume_mm3", "rule", "reference_lesions", "found", "recall", "predicted_lesions", "true", "precision",
)  # fmt: skip

TABLES = {"cases.csv": _CASE_COLUMNS, "lesions.csv": _LESION_COLUMNS, "sizes.csv": _SIZE_COLUMNS}
_SHARE_DECIMALS = 4


def _cell(value: float | None, decimals: int = _SHARE_DECIMALS) -> Cell:
    return value if value is None or isinstance(value, int) else quantised(value, decimals)


def _case_row(case: EvaluatedCase) -> Row:
    scores = case.scores
    return {
        "case": case.case,
        "tuned_on": case.tuned_on,
        "reference_ml": _cell(scores.reference_ml, VOLUME_ML_DECIMALS),
        "predicted_ml": _cell(scores.predicted_ml, VOLUME_ML_DECIMALS),
        "reference_lesions": len(scores.references),
        "predicted_lesions": len(scores.predictions),
        **{name: _cell(measure(scores)) for name, measure in MEASURES.items()},
        "reference_components_below_3_mm3": scores.references_below,
        "predicted_components_below_3_mm3": scores.predictions_below,
    }


def _lesion_rows(case: EvaluatedCase) -> list[Row]:
    def row(mask: str, lesion: ScoredLesion) -> Row:
        x, y, z = lesion.centre_mm
        return {
            "case": case.case,
            "mask": mask,
            "lesion": lesion.number,
            "volume_mm3": _cell(lesion.volume_mm3, VOLUME_MM3_DECIMALS),
            "x_mm": _cell(x, POSITION_MM_DECIMALS),
            "y_mm": _cell(y, POSITION_MM_DECIMALS),
            "z_mm": _cell(z, POSITION_MM_DECIMALS),
            "covered": _cell(lesion.covered),
            "found_10_percent": Rule.TENTH in lesion.found,
            "found_anima": Rule.ANIMA in lesion.found,
        }

    return [
        *(row("reference", lesion) for lesion in case.scores.references),
        *(row("predicted", lesion) for lesion in case.scores.predictions),
    ]


def _size_rows(scores: Sequence[MaskScores]) -> list[Row]:
    return [
        {
            "volume_mm3": size.name,
            "rule": rule.value,
            "reference_lesions": found.references,
            "found": found.references_found,
            "recall": _cell(found.recall),
            "predicted_lesions": found.predictions,
            "true": found.predictions_true,
            "precision": _cell(found.precision),
        }
        for size in by_size(scores)
        for rule, found in size.detections.items()
    ]
