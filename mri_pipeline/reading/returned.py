"""What comes back from a reader: decisions in CSV, as spreadsheet programs save it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.reading.items import IMAGE_FILES, LesionKind
from mri_pipeline.reading.store import LesionDecision
from mri_pipeline.reading.worklist import LESIONS_CSV, WORKLIST_CSV

MAX_CSV_BYTES = 5_000_000
_IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".dcm")
_ACCEPT, _REJECT = frozenset({"accept", "accepted", "a"}), frozenset({"reject", "rejected", "r"})
_YES, _NO = frozenset({"yes", "y", "x", "1", "true", "done"}), frozenset({"", "no", "n", "0", "false"})


def read_csv(path: Path, columns: Sequence[str], *, what: str) -> list[dict[str, str]]:
    """Rows of a CSV from any spreadsheet: comma, semicolon or tab; with or without byte-order mark.

    Raises
    ------
    UsageError
        If the file is missing, huge, or lacks one of the columns.
    """
    if not path.is_file():
        raise UsageError(f"{what}: expected {path.name}, found none", hint="send back the whole exported folder")
    if path.stat().st_size > MAX_CSV_BYTES:
        raise UsageError(f"{what}: expected {path.name} of a worklist, found a file of more than 5 MB")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")  # what older spreadsheets write
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", restkey="more"))
    names = {name.strip() for name in first.strip().strip('"').replace('"', "").split(delimiter)}
    missing = [column for column in columns if column not in names]
    if missing:
        raise UsageError(
            f"{what}: expected the columns {', '.join(columns)} in {path.name}, found no {', '.join(missing)}",
            hint="save the file as CSV with its header",
        )
    cleaned = [{(name or "").strip(): str(value).strip() for name, value in row.items()} for row in rows]
    return [row for row in cleaned if any(row.values())]


def done_marks(folder: Path) -> dict[str, bool]:
    """Which items of a worklist are marked as read, by reading code."""
    marks: dict[str, bool] = {}
    for row in read_csv(folder / WORKLIST_CSV, ("reading_code", "done"), what="worklist"):
        mark = row["done"].lower()
        if mark not in _YES | _NO:
            raise UsageError(
                f"{WORKLIST_CSV}: expected yes or nothing under done, found another word for {row['reading_code']}"
            )
        marks[row["reading_code"]] = mark in _YES
    return marks


def lesion_decisions(
    folder: Path, code: str, proposed: Mapping[LesionKind, Sequence[int]]
) -> tuple[list[LesionDecision], int]:
    """The decisions of one item, and how many of its proposed lesions have none.

    Parameters
    ----------
    folder : Path
        The item's folder.
    code : str
        Its reading code.
    proposed : mapping of LesionKind to lesion numbers
        What was exported.

    Raises
    ------
    UsageError
        If a line names a lesion that was not proposed, or one twice, or a decision is another word.
    """
    what = f"item {code}"
    proposals = {(kind, number) for kind, numbers in proposed.items() for number in numbers}
    decided: list[LesionDecision] = []
    seen: set[tuple[LesionKind, int]] = set()
    for row in read_csv(folder / LESIONS_CSV, ("reading_code", "type", "lesion", "decision"), what=what):
        if row["reading_code"] != code:
            raise UsageError(f"{what}: expected its own {LESIONS_CSV}, found lines of another item")
        lesion = _lesion(row)
        if lesion is None or lesion not in proposals:
            raise UsageError(
                f"{what}: expected the lesions that were proposed, found another line",
                hint="draw a missed lesion in the mask; do not add lines",
            )
        if lesion in seen:
            raise UsageError(f"{what}: expected {lesion[0].value} lesion {lesion[1]} once, found it twice")
        seen.add(lesion)
        word = row["decision"].lower()
        if word not in _ACCEPT | _REJECT | {""}:
            raise UsageError(
                f"{what}: expected accept or reject for {lesion[0].value} lesion {lesion[1]}, found another word"
            )
        if word:
            decided.append(LesionDecision(*lesion, accepted=word in _ACCEPT, comment=row.get("comment", "")))
    return sorted(decided, key=lambda d: (list(LesionKind).index(d.kind), d.lesion)), len(proposals) - len(decided)


def require_no_stray_image(folder: Path, code: str) -> None:
    """Refuse an image under a name that was not exported: a corrected mask there would be overlooked.

    Raises
    ------
    UsageError
        If there is one.
    """
    expected = {*IMAGE_FILES.values(), *(kind.file for kind in LesionKind)}
    names = {path.name for path in folder.iterdir() if path.name.lower().endswith(_IMAGE_ENDINGS)}
    strays = sorted(names - expected)
    if strays:
        raise UsageError(
            f"item {code}: expected the exported images and masks alone, found {len(strays)} more",
            hint=f"save a corrected mask under its own name ({', '.join(kind.file for kind in LesionKind)})",
        )


def _lesion(row: Mapping[str, str]) -> tuple[LesionKind, int] | None:
    number = row["lesion"].removesuffix(".0")  # a spreadsheet may make it a decimal
    if row["type"] not in set(LesionKind) or not number.isdecimal():
        return None
    return LesionKind(row["type"]), int(number)
