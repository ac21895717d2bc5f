"""Files returned by a reader: decisions in CSV, as spreadsheet programs save it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.reading.adjudication import NAMES
from mri_pipeline.reading.items import IMAGE_FILES, LesionKind
from mri_pipeline.reading.record import LesionDecision
from mri_pipeline.reading.worklist import LESIONS_CSV, WORKLIST_CSV

MAX_CSV_BYTES = 5_000_000
_IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".dcm")
_ACCEPT, _REJECT = frozenset({"accept", "accepted", "a"}), frozenset({"reject", "rejected", "r"})
_YES, _NO = frozenset({"yes", "y", "x", "1", "true", "done"}), frozenset({"", "no", "n", "0", "false"})


def read_csv(path: Path, columns: Sequence[str], *, what: str) -> list[dict[str, str]]:
    """Rows of a CSV file from any spreadsheet program.

    The delimiter is comma, semicolon or tab, with or without byte-order mark.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Columns that must be present; others are kept.
    what : str
        Names the file's item in messages.

    Returns
    -------
    list of dict of str to str
        Cells by column name, without surrounding space. Empty rows are left out.

    Raises
    ------
    UsageError
        If the file is missing, larger than `MAX_CSV_BYTES`, or lacks one of the columns.
    """
    if not path.is_file():
        raise UsageError(f"{what}: expected {path.name}, found none", hint="send back the whole exported folder")
    if path.stat().st_size > MAX_CSV_BYTES:
        raise UsageError(
            f"{what}: expected {path.name} of a worklist, found a file of more than {MAX_CSV_BYTES // 1_000_000} MB",
            hint="send back the exported file",
        )
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")  # written by older spreadsheet programs
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", restkey="more"))
    names = {name.strip() for name in first.strip().strip('"').replace('"', "").split(delimiter)}
    missing = [column for column in columns if column not in names]
    if missing:
        raise UsageError(
            f"{what}: expected the columns {', '.join(columns)} in {path.name}, found none named {', '.join(missing)}",
            hint="save the file as CSV with its header",
        )
    cleaned = [{(name or "").strip(): str(value).strip() for name, value in row.items()} for row in rows]
    return [row for row in cleaned if any(row.values())]


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
        If a mark is neither yes nor no, or as `read_csv`.
    """
    marks: dict[str, bool] = {}
    for row in read_csv(folder / WORKLIST_CSV, ("reading_code", "done"), what="worklist"):
        mark = row["done"].lower()
        if mark not in _YES | _NO:
            raise UsageError(
                f"{WORKLIST_CSV}: expected yes or an empty cell under done, found another word for "
                f"{row['reading_code']}",
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
    for row in read_csv(folder / LESIONS_CSV, ("reading_code", "type", "lesion", "decision"), what=what):
        if row["reading_code"] != code:
            raise UsageError(
                f"{what}: expected its own {LESIONS_CSV}, found rows of another item",
                hint="put every file back into the folder from which it came",
            )
        lesion = _lesion(row)
        if lesion is None or lesion not in proposals:
            raise UsageError(
                f"{what}: expected the proposed lesions, found a row of another lesion",
                hint="draw a missed lesion in the mask; do not add rows",
            )
        if lesion in seen:
            raise UsageError(
                f"{what}: expected {lesion[0].value} lesion {lesion[1]} once, found it twice",
                hint="remove one of the rows",
            )
        seen.add(lesion)
        word = row["decision"].lower()
        choice = word.upper() if word.upper() in choices else ""
        if not choice and word not in _ACCEPT | _REJECT | {""}:
            words = " or ".join([*choices, "accept", "reject"])
            raise UsageError(
                f"{what}: expected {words} for {lesion[0].value} lesion {lesion[1]}, found another word",
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
    number = row["lesion"].removesuffix(".0")  # some spreadsheet programs write 3 as 3.0
    if row["type"] not in set(LesionKind) or not number.isdecimal():
        return None
    return LesionKind(row["type"]), int(number)
