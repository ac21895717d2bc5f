"""Tables on disk. Equal inputs give equal bytes: UTF-8, line feeds, fixed decimals, fixed order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Final
from weakref import finalize

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.tables.columns import Cell, Column, Row, Table
from mri_pipeline.tables.endpoints import ENDPOINTS, endpoint_row
from mri_pipeline.tables.inputs import SubjectInput, new_code, visit_inputs
from mri_pipeline.tables.nv import nv_rows
from mri_pipeline.tables.rows import (
    check_rows,
    decimal_text,
    lesion_rows,
    locked_rows,
    question_rows,
    supplementary_rows,
    timepoint_rows,
)
from mri_pipeline.tables.schema import LESIONS, QUESTIONS, SUPPLEMENTARY, TIMEPOINTS
from mri_pipeline.tables.sdtm import NV

DICTIONARY_FILE = "data_dictionary.json"
TABLES = (TIMEPOINTS, LESIONS, SUPPLEMENTARY, ENDPOINTS, NV, QUESTIONS)
_IN_MEMORY: Final = 1 << 25
"""Bytes of text that are kept in memory: about 700 subjects."""


def subject_tables(
    subject: SubjectInput,
    visits: Sequence[PlannedVisit],
    *,
    study: str,
    provisional: bool,
) -> dict[str, list[Row]]:
    """The rows of one subject in every table, by file name. They do not depend on other subjects.

    Parameters
    ----------
    subject : SubjectInput
    visits : sequence of PlannedVisit
        Of the trial, in the order of the rows.
    study : str
        Name of the trial, for the SDTM table.
    provisional : bool
        True: numbers of every analysed visit, whatever its read status. False: numbers of locked reads only.

    Returns
    -------
    dict of str to list of Row
        One entry for each of `TABLES`. Without any analysed visit, the measures are empty, not 0.

    Raises
    ------
    UsageError
        If the subject has a visit that is not planned, or an analysed visit has no numbers.
    """
    inputs = visit_inputs(subject, visits if subject.visits is None else subject.visits)
    timepoints, lesions = timepoint_rows(subject.code, inputs), lesion_rows(subject.code, inputs)
    if not provisional:
        timepoints, lesions = locked_rows(timepoints, lesions)
    endpoints = [endpoint_row(timepoints)] if timepoints else []
    tables = {
        TIMEPOINTS.file: timepoints,
        LESIONS.file: lesions,
        SUPPLEMENTARY.file: supplementary_rows(timepoints, inputs),
        ENDPOINTS.file: endpoints,
        NV.file: nv_rows(timepoints, lesions, study=study, provisional=provisional, evaluators=subject.evaluators),
        QUESTIONS.file: question_rows(timepoints, lesions),
    }
    for table in TABLES:
        check_rows(table, tables[table.file])
    return tables


def _text(value: Cell, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, bool):
        return "true" if value else "false"
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def csv_text(names: Sequence[str], rows: Iterable[Row], *, delimiter: str = ",", missing: str = "") -> str:
    r"""Rows as CSV (RFC 4180 with line feeds). None becomes `missing`: empty, or "n/a" as in BIDS.

    The blinded tables and the tables of BIDS datasets are written by this function.

    Parameters
    ----------
    names : sequence of str
        Columns to write, in their order. Each row has a cell for each of them.
    rows : iterable of Row
    delimiter : str
    missing : str
        Text of a missing value.

    Returns
    -------
    str
        Header and rows. Without rows, the header only.

    Examples
    --------
    >>> csv_text(["subject", "week"], [{"subject": "BC23", "week": None}])
    'subject,week\nBC23,\n'
    >>> csv_text(["index", "enhancing"], [{"index": 1, "enhancing": None}], delimiter="\t", missing="n/a")
    'index\tenhancing\n1\tn/a\n'
    """
    return _lines([names, *_cells(names, rows, missing)], delimiter)


def _cells(names: Sequence[str], rows: Iterable[Row], missing: str = "") -> list[list[Cell]]:
    # most of the cells are written as they are; the writer of CSV leaves the field of None empty
    plain = {str, int} if missing else {str, int, type(None)}
    return [[cell if type(cell := row[name]) in plain else _text(cell, missing) for name in names] for row in rows]


def _lines(rows: Iterable[Sequence[Cell]], delimiter: str = ",") -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def data_dictionary(
    *, settings_digest: str, provisional: bool, session_order: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Every column of every table, which settings made them, and where the order of the visits comes from.

    Parameters
    ----------
    settings_digest : str
    provisional : bool
    session_order : mapping, optional
        Of a dataset without a protocol: for each subject the ``order`` of its sessions and the ``source`` of it.

    Returns
    -------
    dict
        Content of data_dictionary.json.
    """
    return {
        "settings_digest": settings_digest,
        "provisional": provisional,
        **({"session_order": session_order} if session_order is not None else {}),
        "missing_value": "an empty field; never 0, never a sentinel number",
        "tables": {
            table.file: {"description": table.about, "columns": [_described(column) for column in table.columns]}
            for table in TABLES
        },
    }


def _described(column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": column.name,
        "type": column.type.value,
        "unit": column.unit or None,
        "rule": column.rule,
        "missing": column.missing,
    }
    if column.decimals:
        described["decimals"] = column.decimals
    if column.values:
        described["values"] = list(column.values)
    return described


class TableTexts:
    """All tables as CSV text. Those of a large trial are in a temporary file, without a name, and not in memory.

    Parameters
    ----------
    scratch : Path or None
        Folder for the temporary file; that of the system if it is None.
    """

    def __init__(self, scratch: Path | None) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY, dir=None if scratch is None else str(scratch))  # noqa: SIM115 - the next line
        finalize(self, self._file.close)
        self._places: dict[str, dict[str, tuple[int, int]]] = {}

    def add(self, subject: SubjectInput, rows: Mapping[str, list[Row]]) -> None:
        """Add the rows of a subject.

        Parameters
        ----------
        subject : SubjectInput
        rows : mapping of str to list of Row
            `subject_tables` of the subject.

        Raises
        ------
        UsageError
            If the subject was added before.
        """
        code, places = new_code(subject, self._places), {}
        for table in TABLES:
            begin = self._file.tell()
            self._file.write(_lines(_cells(table.names, rows[table.file])).encode())
            places[table.file] = begin, self._file.tell() - begin
        self._places[code] = places

    def parts(self, table: Table) -> Iterator[bytes]:
        """The text of a table: the header, then the rows of each subject in the order of their codes.

        Parameters
        ----------
        table : Table
            One of `TABLES`.

        Yields
        ------
        bytes
            UTF-8.
        """
        yield csv_text(table.names, []).encode()
        for code in sorted(self._places):
            begin, length = self._places[code][table.file]
            self._file.seek(begin)
            yield self._file.read(length)

    def __getitem__(self, file: str) -> str:
        """The text of a table by its file name."""
        table = next(table for table in TABLES if table.file == file)
        return b"".join(self.parts(table)).decode()


def table_texts(
    subjects: Iterable[SubjectInput],
    visits: Sequence[PlannedVisit],
    *,
    study: str,
    provisional: bool,
    scratch: Path | None = None,
) -> TableTexts:
    """All tables as CSV text.

    Subjects are processed one at a time, so that the memory does not depend on the number of lesions of the trial.

    Parameters
    ----------
    subjects : iterable of SubjectInput
        In any order. Rows are sorted by subject code.
    visits, study, provisional
        As in `subject_tables`.
    scratch : Path, optional
        As in `TableTexts`.

    Returns
    -------
    TableTexts
        Without subjects, the headers only.

    Raises
    ------
    UsageError
        As `subject_tables`, and if a subject comes twice.
    """
    texts = TableTexts(scratch)
    for subject in subjects:
        texts.add(subject, subject_tables(subject, visits, study=study, provisional=provisional))
    return texts


def save_tables(
    folder: Path,
    texts: TableTexts,
    *,
    provisional: bool,
    settings_digest: str = "",
    session_order: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Write the tables of `table_texts` with their dictionary.

    Parameters
    ----------
    folder : Path
    texts : TableTexts
    provisional, settings_digest, session_order
        For the dictionary; see `data_dictionary`.

    Returns
    -------
    list of Path
        The files written; each is replaced as a whole.
    """
    dictionary = data_dictionary(
        settings_digest=settings_digest, provisional=provisional, session_order=session_order
    )
    written = [write_atomic(folder / table.file, texts.parts(table)) for table in TABLES]
    described = json.dumps(dictionary, indent=2, ensure_ascii=False) + "\n"
    return [*written, write_atomic(folder / DICTIONARY_FILE, described)]


def write_tables(
    folder: Path,
    subjects: Iterable[SubjectInput],
    visits: Sequence[PlannedVisit],
    *,
    study: str,
    provisional: bool,
    settings_digest: str = "",
    session_order: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Make and write all tables and their dictionary.

    Parameters
    ----------
    folder : Path
    subjects : iterable of SubjectInput
        In any order.
    visits, study, provisional
        As in `subject_tables`.
    settings_digest, session_order
        For the dictionary; see `data_dictionary`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    UsageError
        As `table_texts`. Nothing is written then.
    """
    texts = table_texts(subjects, visits, study=study, provisional=provisional)
    return save_tables(
        folder, texts, provisional=provisional, settings_digest=settings_digest, session_order=session_order
    )


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table as text, by column name.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict of str to str
        One entry for each row. A missing value is an empty string.

    Raises
    ------
    UsageError
        If the file is missing.
    """
    if not path.is_file():
        raise UsageError(f"expected the table {path.name}, found none", hint="run 'mri-pipeline tables' first")
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def unlocked_visits(subjects: Iterable[SubjectInput]) -> int:
    """Number of analysed visits without a locked read. Tables made without --provisional omit their numbers.

    Parameters
    ----------
    subjects : iterable of SubjectInput

    Returns
    -------
    int
    """
    return sum(
        subject.read_status(visit) is not ReadStatus.LOCKED
        for subject in subjects
        for visit, status in subject.scans.items()
        if status is ScanStatus.ANALYSED
    )
