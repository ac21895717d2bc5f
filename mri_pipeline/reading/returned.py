"""Files returned by a reader: decisions in CSV, as spreadsheet programs save it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import SheetRow, read_sheet, whole_number
from mri_pipeline.reading.adjudication import NAMES
from mri_pipeline.reading.items import IMAGE_FILES, LesionKind
from mri_pipeline.reading.record import LesionDecision
from mri_pipeline.reading.worklist import WORKLIST_CSV
from mri_pipeline.reading.worklist_item import LESIONS_CSV

_IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".dcm")
_ACCEPT, _REJECT = frozenset({"accept", "accepted", "a"}), frozenset({"reject", "rejected", "r"})
_YES, _NO = frozenset({"yes", "y", "x", "1", "true", "done"}), frozenset({"", "no", "n", "0", "false"})


def returned_rows(path: Path, columns: Sequence[str], *, what: str) -> list[SheetRow]:
    """Rows of a returned file (`read_sheet`).

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Columns that must be present; others are kept.
    what : str
        The item of the file, for messages.

    Returns
    -------
    list of SheetRow

    Raises
    ------
    UsageError
        If the file is missing, or as `read_sheet`.
    """
    if not path.is_file():
        raise UsageError(f"{what}: expected {path.name}, found none", hint="send back the whole exported folder")
    try:
        return read_sheet(path, columns)
    except UsageError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from None


def done_marks(folder: Path) -> dict[str, bool]:
    """The mark of every item of a worklist, by reading code: True for read.

    Parameters
    ----------
    folder : Path
        The returned worklist.

    Returns
    -------
    dict of str to bool

    Raises
    ------
    UsageError
        If a mark is neither yes nor no, or as `read_sheet`. The message names file, line and column.
    """
    marks: dict[str, bool] = {}
    for row in returned_rows(folder / WORKLIST_CSV, ("reading_code", "done"), what="worklist"):
        number = whole_number(row["done"])
        mark = row["done"].lower() if number is None else str(number)
        if mark not in _YES | _NO:
            raise UsageError(
                f"{row.place('done')}: expected yes or an empty cell, found text of {len(row['done'])} characters",
                hint="write yes if the item is read",
            )
        marks[row["reading_code"]] = mark in _YES
    return marks


def lesion_decisions(
    folder: Path, code: str, proposed: Mapping[LesionKind, Sequence[int]], choices: Sequence[str] = ()
) -> tuple[list[LesionDecision], int]:
    """The decisions of one item, and the number of its undecided lesions.

    Parameters
    ----------
    folder : Path
        The item's folder.
    code : str
        Its reading code.
    proposed : mapping of LesionKind to lesion numbers
        The exported lesions.
    choices : sequence of str
        Names of the reads of an adjudication. Each is a decision, too: to accept the outline of that read.

    Returns
    -------
    decisions : list of LesionDecision
        In the order of kinds and numbers.
    undecided : int
        Number of proposed lesions without a decision, rows missing from the file included.

    Raises
    ------
    UsageError
        If a row names a lesion that was not proposed, a lesion appears twice, or a decision is another word.
    """
    what = f"item {code}"
    proposals = {(kind, number) for kind, numbers in proposed.items() for number in numbers}
    decided: list[LesionDecision] = []
    seen: set[tuple[LesionKind, int]] = set()
    for row in returned_rows(folder / LESIONS_CSV, ("reading_code", "type", "lesion", "decision"), what=what):
        if row["reading_code"] != code:
            raise UsageError(
                f"{what}, {row.place('reading_code')}: expected its own {LESIONS_CSV}, found rows of another item",
                hint="put every file back into the folder from which it came",
            )
        lesion = _lesion(row)
        if lesion is None or lesion not in proposals:
            raise UsageError(
                f"{what}, {row.place('lesion')}: expected the proposed lesions, found a row of another lesion",
                hint="draw a missed lesion in the mask; do not add rows",
            )
        if lesion in seen:
            raise UsageError(
                f"{what}, {row.place('lesion')}: expected {lesion[0].value} lesion {lesion[1]} once, found it twice",
                hint="remove one of the rows",
            )
        seen.add(lesion)
        word = row["decision"].lower()
        choice = word.upper() if word.upper() in choices else ""
        if not choice and word not in _ACCEPT | _REJECT | {""}:
            words = " or ".join([*choices, "accept", "reject"])
            raise UsageError(
                f"{what}, {row.place('decision')}: expected {words} for {lesion[0].value} lesion {lesion[1]}, "
                f"found text of {len(row['decision'])} characters",
                hint=f"write {words} under decision",
            )
        if word:
            accepted = bool(choice) or word in _ACCEPT
            decided.append(LesionDecision(*lesion, accepted, row.get("comment", ""), choice))
    return sorted(decided, key=lambda d: (list(LesionKind).index(d.kind), d.lesion)), len(proposals) - len(decided)


def require_no_stray_image(folder: Path, code: str) -> None:
    """Refuse an image under a name that was not exported. A corrected mask under such a name would be ignored.

    Parameters
    ----------
    folder : Path
        The item's folder.
    code : str
        Its reading code.

    Raises
    ------
    UsageError
        If there is such an image.
    """
    masks = [kind.file for kind in LesionKind]
    expected = {*IMAGE_FILES.values(), *masks, *(f"{name}_{file}" for name in NAMES for file in masks)}
    names = {path.name for path in folder.iterdir() if path.name.lower().endswith(_IMAGE_ENDINGS)}
    strays = sorted(names - expected)
    if strays:
        raise UsageError(
            f"item {code}: expected only the exported images and masks, found {len(strays)} more",
            hint=f"save a corrected mask under its own name ({', '.join(kind.file for kind in LesionKind)})",
        )


def _lesion(row: Mapping[str, str]) -> tuple[LesionKind, int] | None:
    number = whole_number(row["lesion"])
    if row["type"] not in set(LesionKind) or number is None:
        return None
    return LesionKind(row["type"]), number
