"""Decisions of a reader on the proposed changes of a serial reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import whole_number
from mri_pipeline.core.records import T2State
from mri_pipeline.reading.returned import returned_rows
from mri_pipeline.reading.serial import CHANGE_WORDS, CHANGES_CSV


def change_decisions(
    folder: Path, code: str, changes: Mapping[int, str], rejected: set[int]
) -> dict[int, T2State]:
    """The reader's decisions on the proposed changes of one item.

    Parameters
    ----------
    folder : Path
        The item's folder.
    code : str
        Its reading code.
    changes : mapping of int to str
        The exported changes. Without any, nothing is read.
    rejected : set of int
        Numbers of the rejected T2 lesions. They need no decision.

    Returns
    -------
    dict of int to T2State
        New, enlarging or stable for each accepted lesion of `changes`.

    Raises
    ------
    UsageError
        If the file is missing, a row is not one of `changes` or comes twice, a decision is another word, or an accepted
        lesion has none.
    """
    if not changes:
        return {}
    what, decided = f"item {code}, {CHANGES_CSV}", {}
    seen: set[int] = set()
    columns = ("reading_code", "lesion", "decision")
    for row in returned_rows(folder / CHANGES_CSV, columns, what=f"item {code}"):
        number, word = whole_number(row["lesion"]) or 0, row["decision"].lower()
        faults = {
            "a row of another item": row["reading_code"] != code,
            "a row of another lesion": number not in changes,
            f"lesion {number} twice": number in seen,
        }
        found = [fault for fault, present in faults.items() if present]
        if found:
            raise UsageError(
                f"{what}, {row.place()}: expected each proposed change once, found {found[0]}",
                hint="restore the exported rows",
            )
        seen.add(number)
        if word and word not in CHANGE_WORDS:
            raise UsageError(
                f"{what}, {row.place('decision')}: expected new, enlarging or none for lesion {number}, "
                f"found text of {len(row['decision'])} characters",
                hint="write new, enlarging or none under decision",
            )
        if word and number not in rejected:
            decided[number] = CHANGE_WORDS[word]
    missing = [number for number in changes if number not in rejected and number not in decided]
    if missing:
        raise UsageError(
            f"{what}: expected a decision on the change of every accepted lesion, found none for lesion "
            + ", ".join(map(str, missing)),
            hint="write new, enlarging or none under decision",
        )
    return decided
