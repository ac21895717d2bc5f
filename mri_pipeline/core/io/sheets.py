"""CSV files as spreadsheet programs save them: any delimiter, UTF-8, UTF-16 or Windows text, a ``sep=;`` line."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError

MAX_SHEET_BYTES = 5_000_000
_DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class SheetRow(dict[str, str]):
    """The cells of one row by column name, without surrounding space. `place` names it in messages.

    Parameters
    ----------
    cells : dict of str to str
    file : str
        Name of the file.
    line : int
        Line in the file, from 1.
    """

    def __init__(self, cells: dict[str, str], *, file: str, line: int) -> None:
        super().__init__(cells)
        self.file, self.line = file, line

    def place(self, column: str = "") -> str:
        """The place of a cell or of the row.

        Parameters
        ----------
        column : str
            Empty for the row.

        Returns
        -------
        str

        Examples
        --------
        >>> SheetRow({"a": "1"}, file="list.csv", line=3).place("a")
        'list.csv, line 3, column a'
        """
        return f"{self.file}, line {self.line}" + (f", column {column}" if column else "")


def read_sheet(
    path: Path, columns: Sequence[str], *, hint: str = "save the file as CSV with its header"
) -> list[SheetRow]:
    """Rows of a CSV file from any spreadsheet program.

    The delimiter is comma, semicolon or tab: that of a first line ``sep=;``, else the most frequent one of the header.
    The text is UTF-8 or UTF-16, with or without byte-order mark, or else Windows-1252.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Columns that must be present; others are kept.
    hint : str
        Of the message if a column is missing.

    Returns
    -------
    list of SheetRow
        Empty rows are left out. A short row has empty cells at its end.

    Raises
    ------
    UsageError
        If the file is missing, larger than `MAX_SHEET_BYTES`, no text, lacks a column or has it twice, a row has more
        cells than the header, or quotes are not balanced. The message names file, line and column.
    """
    lines, delimiter, skipped = _lines(path)
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
    rows: list[SheetRow] = []
    names: list[str] = []
    while True:
        line = skipped + reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            raise UsageError(
                f"{path.name}, line {line}: expected CSV, found {error}", hint="save the file as CSV again"
            ) from None
        if not any(cells):
            continue
        if not names:
            names = _header(path.name, line, cells, columns, hint)
        else:
            _require_width(path.name, line, cells, names)
            padded = [*cells, *[""] * len(names)][: len(names)]
            rows.append(SheetRow(dict(zip(names, padded, strict=True)), file=path.name, line=line))
    if not names:
        _header(path.name, 1, [], columns, hint)  # an empty file
    return rows


def decoded(content: bytes, *, file: str) -> str:
    """The text of a file that a spreadsheet or text program saved.

    Parameters
    ----------
    content : bytes
    file : str
        Name of the file, for the message.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        If it is no text: it contains zero bytes, as a spreadsheet file or an archive does.

    Examples
    --------
    >>> decoded("größer".encode("utf-16"), file="list.csv"), decoded("größer".encode("cp1252"), file="list.csv")
    ('größer', 'größer')
    """
    if content.startswith(_UTF16):
        text = content.decode("utf-16", errors="replace")
    elif content[1:2] == b"\0":
        text = content.decode("utf-16-le", errors="replace")
    elif content[:1] == b"\0":
        text = content.decode("utf-16-be", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")  # written by older spreadsheet programs
    if "\0" in text or text.startswith("PK\x03\x04"):
        line = text.partition("\0")[0].count("\n") + 1
        raise UsageError(
            f"{file}, line {line}: expected CSV text, found binary data",
            hint="save the file as CSV, not as a workbook",
        )
    return text


def whole_number(text: str) -> int | None:
    """A whole number as spreadsheet programs write it: ``3``, ``3.0`` or ``3,0``.

    Parameters
    ----------
    text : str

    Returns
    -------
    int or None
        None if it is none.

    Examples
    --------
    >>> whole_number("3"), whole_number("3,00"), whole_number("3.5"), whole_number("-1"), whole_number("")
    (3, 3, None, None, None)
    """
    match = re.fullmatch(r"([0-9]+)([.,]0+)?", text.strip())
    return int(match[1]) if match else None


def _lines(path: Path) -> tuple[str, str, int]:
    """The text from the header on, its delimiter, and the number of lines before it."""
    if not path.is_file():
        raise UsageError(f"expected {path.name}, found none", hint="check the path")
    if path.stat().st_size > MAX_SHEET_BYTES:
        raise UsageError(
            f"{path.name}: expected a CSV file of at most {MAX_SHEET_BYTES // 1_000_000} MB, found a larger one",
            hint="check that it is the right file",
        )
    try:
        text = decoded(path.read_bytes(), file=path.name)
    except OSError as error:
        raise UsageError(
            f"expected {path.name}, found none that can be read", hint="check its permissions"
        ) from error
    first, _, rest = text.partition("\n")
    stated = _SEPARATOR_LINE.match(first)
    if stated:
        return rest, stated[1], 1
    return text, max(_DELIMITERS, key=first.count), 0


def _header(file: str, line: int, cells: list[str], columns: Sequence[str], hint: str) -> list[str]:
    missing = [column for column in columns if column not in cells]
    if missing:
        raise UsageError(
            f"{file}, line {line}: expected the columns {', '.join(columns)}, found none named {', '.join(missing)}",
            hint=hint,
        )
    twice = [name for name in columns if cells.count(name) > 1]
    if twice:
        raise UsageError(
            f"{file}, line {line}, column {twice[0]}: expected it once, found it twice",
            hint="rename or remove one",
        )
    while cells and not cells[-1]:
        cells.pop()  # spreadsheet programs pad rows with empty cells
    return cells


def _require_width(file: str, line: int, cells: list[str], names: list[str]) -> None:
    if any(cells[len(names) :]):
        raise UsageError(
            f"{file}, line {line}, column {len(names) + 1}: expected {len(names)} cells as in the header, found more",
            hint="quote cells that contain the delimiter",
        )
