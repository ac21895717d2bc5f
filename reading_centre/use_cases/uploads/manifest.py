"""The manifest of a batch of uploads: a CSV file with one upload per line."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import Protocol

COLUMNS: Final = ("site", "subject", "visit", "upload", "before_infusion")
_ANSWERS: Final = {"yes": True, "no": False, "": None}
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SHOWN: Final = 5
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_EXCEL: Final = "in Excel: Save As, 'CSV UTF-8 (Comma delimited)'; or another program that writes commas and UTF-8"


@dataclass(frozen=True)
class ManifestRow:
    """One upload of a manifest.

    Parameters
    ----------
    line : int
        Line in the file, from 1.
    site, subject, visit : str
        Code of the site, the site's trial number of the subject, and the visit's label.
    upload : Path
    before_infusion : bool or None
        Statement of the site; None if there is none.
    """

    line: int
    site: str
    subject: str
    visit: str
    upload: Path
    before_infusion: bool | None


def read_manifest(path: Path, protocol: Protocol) -> tuple[ManifestRow, ...]:
    """Read and check a manifest. No message contains a value of a cell, which may be a name in a wrong column.

    Parameters
    ----------
    path : Path
        CSV in UTF-8 with the columns `COLUMNS` in any order. A relative path of an upload is relative to the folder of
        the manifest.
    protocol : Protocol
        With the sites and visits.

    Returns
    -------
    tuple of ManifestRow
        In the order of the lines. Empty lines are ignored.

    Raises
    ------
    UsageError
        With line and column of the first faults.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise _fault([f"line {reader.line_num}: expected comma-separated cells, found {error}"]) from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise _fault(["line 1: expected the column names " + ", ".join(COLUMNS) + ", found an empty file"])
    names = _column_names(*lines[0])
    rows: list[ManifestRow] = []
    faults: list[str] = []
    for number, cells in lines[1:]:
        if len(cells) != len(names):
            faults.append(f"line {number}: expected {len(names)} cells, found {len(cells)}")
            continue
        values = dict(zip(names, cells, strict=True))
        found = list(_faults_of_row(values, protocol))
        faults += [f"line {number}, column {column}: {text}" for column, text in found]
        if not found:
            upload = Path(os.path.realpath(path.parent / values["upload"]))
            answer = _ANSWERS[values["before_infusion"].lower()]
            rows.append(ManifestRow(number, values["site"], values["subject"], values["visit"], upload, answer))
    faults += _doubled(rows)
    if faults:
        raise _fault(faults)
    if not rows:
        raise _fault([f"line {lines[0][0]}: expected a line for each upload, found the column names alone"])
    return tuple(rows)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--manifest: expected a file, found: {error.strerror}", hint="check its path") from None
    if content.startswith(_UTF16) or b"\0" in content:
        raise _fault(["line 1, column 1: expected text in UTF-8, found UTF-16 or binary data"], hint=_EXCEL)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise _fault(
            [f"line {line}, character {column}: expected text in UTF-8, found a byte of another encoding"],
            hint=_EXCEL,
        ) from None


def _column_names(line: int, cells: Sequence[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    if len(names) == 1:
        for separator, word in ((";", "semicolons"), ("\t", "tabs")):
            if separator in names[0]:
                column = names[0].index(separator) + 1
                raise _fault(
                    [f"line {line}, character {column}: expected commas between the cells, found {word}"],
                    hint=_EXCEL,
                )
    faults = [f"line {line}, column {name}: expected it, found none" for name in COLUMNS if name not in names]
    faults += [
        f"line {line}, column {number}: expected "
        + (
            f"each column once, found {name} again"
            if name in COLUMNS
            else f"one of {', '.join(COLUMNS)}, found {_kind_of(name) if name else 'an empty name'}"
        )
        for number, name in enumerate(names, start=1)
        if name not in COLUMNS or name in names[: number - 1]
    ]
    if faults:
        raise _fault(faults)
    return names


def _kind_of(text: str) -> str:
    """Kind of a cell. Its content is not repeated: a shifted column may hold the name of a patient."""
    if not text:
        return "an empty cell"
    kind = "digit" if text.isdecimal() else "letter" if text.isalpha() else "character"
    return f"{len(text)} {kind}{'s' * (len(text) > 1)}"


def _faults_of_row(values: dict[str, str], protocol: Protocol) -> Iterator[tuple[str, str]]:
    sites = [site.code for site in protocol.sites]
    visits = [visit.label for visit in protocol.visits]
    if values["site"] not in sites:
        yield "site", f"expected a site of trial.toml ({', '.join(sites)}), found {_kind_of(values['site'])}"
    if not _NUMBER.fullmatch(values["subject"]):
        found = _kind_of(values["subject"])
        yield "subject", f"expected a trial number of letters, digits, '-' or '_', found {found}"
    if values["visit"] not in visits:
        yield "visit", f"expected a visit of trial.toml ({', '.join(visits)}), found {_kind_of(values['visit'])}"
    if not values["upload"]:
        yield "upload", "expected the path of a folder, zip or tar, found none"
    if values["before_infusion"].lower() not in _ANSWERS:
        found = _kind_of(values["before_infusion"])
        yield "before_infusion", f"expected yes, no or nothing, found {found}"


def _doubled(rows: Sequence[ManifestRow]) -> list[str]:
    """Two lines for one visit of a subject, or for one upload."""
    faults = []
    visits: dict[tuple[str, ...], int] = {}
    uploads: dict[Path, int] = {}
    for row in rows:
        first = visits.setdefault((row.site, row.subject.upper(), row.visit), row.line)
        if first != row.line:
            faults.append(
                f"line {row.line}, column visit: expected each visit of a subject once, found it in line {first}, too"
            )
        first = uploads.setdefault(row.upload, row.line)
        if first != row.line:
            faults.append(
                f"line {row.line}, column upload: expected each upload once, found it in line {first}, too"
            )
    return faults


def _fault(faults: Sequence[str], *, hint: str = "") -> UsageError:
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return UsageError(
        "--manifest: " + "; ".join(faults[:_SHOWN]) + more,
        hint=hint or "correct the manifest, then repeat the command; nothing was ingested",
    )
