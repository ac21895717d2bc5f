"""Performance qualification (PQ): the centre's own reference cases."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import SheetRow, read_sheet
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.lesions.scoring.scores import MaskScores, Rule
from reading_centre.qualification.checks import CheckFinding
from reading_centre.use_cases.analysis.evaluate import score_pair
from reading_centre.use_cases.analysis.mask_pairs import Pair
from reading_centre.use_cases.analysis.segment import segment_files

_IMAGES: Final = ("flair", "t1", "t1_gd", "t2")
_LIMITS: Final = {
    "min_dice": (0.0, 1.0),
    "max_volume_error_percent": (0.0, math.inf),
    "min_lesion_f1": (0.0, 1.0),
}
"""Columns of the limits, with the values that they can have."""

_REQUIREMENTS: Final = {"min_dice": "PQ-01", "max_volume_error_percent": "PQ-02", "min_lesion_f1": "PQ-03"}
_EXPECTED: Final = {
    "min_dice": "Dice of at least {:g}",
    "max_volume_error_percent": "volume error of at most {:g} %",
    "min_lesion_f1": "lesion F1 of at least {:g}",
}

COLUMNS: Final = ("case", *_IMAGES, "reference", *_LIMITS)
_HINT: Final = f"columns of --cases: {', '.join(COLUMNS)}; paths are relative to the file (docs/qualification.md)"


@dataclass(frozen=True)
class ReferenceCase:
    """A reference case with its limits.

    Parameters
    ----------
    case : str
        Label, without patient data.
    images : mapping of str to Path
        ``flair``, and any of ``t1``, ``t1_gd`` and ``t2``.
    reference : Path
        T2 lesion mask on the grid of the FLAIR.
    limits : mapping of str to float
        At least one of ``min_dice``, ``max_volume_error_percent`` and ``min_lesion_f1``.
    """

    case: str
    images: Mapping[str, Path]
    reference: Path
    limits: Mapping[str, float]


def read_cases(file: Path) -> list[ReferenceCase]:
    """Cases of a CSV file.

    Parameters
    ----------
    file : Path
        As a spreadsheet program saves it (`read_sheet`). An empty cell of an image or a limit means "none".

    Returns
    -------
    list of ReferenceCase

    Raises
    ------
    UsageError
        If the file is missing, has no case, or a line lacks label, FLAIR, reference or any limit, names a file that
        does not exist, has a limit that is no such number, or a label that is in use. The message names file and line.
    """
    cases: dict[str, ReferenceCase] = {}
    for row in read_sheet(file, COLUMNS, hint=_HINT):
        one = _case(row, file.absolute().parent)
        if one.case in cases:
            raise UsageError(f"{row.place('case')}: expected every case once, found {one.case} again")
        cases[one.case] = one
    if not cases:
        raise UsageError(f"{file.name}: expected rows below the header, found no row", hint=_HINT)
    return list(cases.values())


def _case(row: SheetRow, folder: Path) -> ReferenceCase:
    missing = [name for name in ("case", "flair", "reference") if not row[name]]
    if missing:
        raise UsageError(f"{row.place()}: expected {' and '.join(missing)}, found an empty cell", hint=_HINT)
    limits = {name: _limit(row, name) for name in _LIMITS if row[name]}
    if not limits:
        raise UsageError(f"{row.place()}: expected at least one limit, found none", hint=_HINT)
    files = {name: folder / row[name] for name in (*_IMAGES, "reference") if row[name]}
    for name, path in files.items():
        if not path.is_file():
            raise UsageError(f"{row.place(name)}: expected a file, found none", hint=_HINT)
    return ReferenceCase(
        row["case"], {name: files[name] for name in _IMAGES if name in files}, files["reference"], limits
    )


def _limit(row: SheetRow, name: str) -> float:
    low, high = _LIMITS[name]
    value: float | None
    try:
        value = float(row[name].replace(",", "."))
    except ValueError:
        value = None
    if value is None or not (low <= value <= high and math.isfinite(value)):
        found = f"{len(row[name])} character{'s' * (len(row[name]) > 1)}" if value is None else f"{value:g}"
        raise UsageError(
            f"{row.place(name)}: expected a number from {low:g}{f' to {high:g}' if math.isfinite(high) else ''}, "
            f"found {found}",
            hint=_HINT,
        )
    return value


def check_case(case: ReferenceCase, work: Path, rules: LesionRules) -> list[CheckFinding]:
    """Segment a case and compare the mask with its reference.

    Parameters
    ----------
    case : ReferenceCase
    work : Path
        New folder for the masks.
    rules : LesionRules
        Of the trial.

    Returns
    -------
    list of CheckFinding
        One for each limit of the case.

    Raises
    ------
    ReadingCentreError
        If the case cannot be segmented or compared.
    """
    t1, t1_gd, t2 = (case.images.get(name) for name in _IMAGES[1:])
    segment_files(flair=case.images["flair"], t1=t1, t1_gd=t1_gd, t2=t2, brain_mask=None, out=work, rules=rules)
    scores = score_pair(Pair(case.case, work / "t2_lesions.nii.gz", case.reference)).scores
    return list(findings_of(case, scores))


def findings_of(case: ReferenceCase, scores: MaskScores) -> Iterator[CheckFinding]:
    """Compare the scores of a case with its limits. A measure that is not defined fails.

    Parameters
    ----------
    case : ReferenceCase
    scores : MaskScores

    Yields
    ------
    CheckFinding
    """
    error = scores.difference_percent
    volumes = f"{scores.predicted_ml:.2f} mL, reference {scores.reference_ml:.2f} mL"
    measured: dict[str, tuple[float | None, str, Callable[[float, float], bool]]] = {
        "min_dice": (scores.dice, "Dice {:.3f}", operator.ge),
        "max_volume_error_percent": (None if error is None else abs(error), f"{volumes}: {{:.1f}} %", operator.le),
        "min_lesion_f1": (scores.detection(Rule.TENTH).f1, "lesion F1 {:.3f}", operator.ge),
    }
    for name, limit in case.limits.items():
        value, found, meets = measured[name]
        text = "not defined: a mask is empty" if value is None else found.format(value)
        yield CheckFinding(
            _REQUIREMENTS[name], _expected(case, name), text, value is not None and meets(value, limit)
        )


def not_done(case: ReferenceCase, reason: str) -> list[CheckFinding]:
    """Failed findings of a case that could not be segmented or compared.

    Parameters
    ----------
    case : ReferenceCase
    reason : str

    Returns
    -------
    list of CheckFinding
    """
    return [CheckFinding(_REQUIREMENTS[name], _expected(case, name), reason, passed=False) for name in case.limits]


def _expected(case: ReferenceCase, name: str) -> str:
    return f"{case.case}: {_EXPECTED[name].format(case.limits[name])}"
