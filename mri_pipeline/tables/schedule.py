"""The site's schedule: the dates of the scans, which the release of tables enters in nv.csv."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import SheetRow, read_sheet

COLUMNS = ("site", "subject", "visit", "date")
REFERENCE = "rfstdtc"
"""Optional column: the reference start date of the subject (RFSTDTC of the domain DM)."""


@dataclass(frozen=True)
class ScanDate:
    """The date of one scan.

    Parameters
    ----------
    date : datetime.date
    place : str
        File and line, for messages.
    """

    date: dt.date
    place: str


@dataclass(frozen=True)
class Schedule:
    """Dates by site, trial number and visit.

    Parameters
    ----------
    file : str
        Name of the file. Empty without schedule.
    scans : mapping of (site, subject, visit) to ScanDate
    references : mapping of (site, subject) to datetime.date
        Day 1 of the subject.
    """

    file: str = ""
    scans: Mapping[tuple[str, str, str], ScanDate] = field(default_factory=dict)
    references: Mapping[tuple[str, str], dt.date] = field(default_factory=dict)

    def cells(self, site: str, subject: str, visit: str) -> tuple[str, str]:
        """NVDTC and NVDY of a visit.

        Parameters
        ----------
        site, subject, visit : str

        Returns
        -------
        tuple of 2 str
            Each is empty if it is not known.
        """
        scan, reference = self.scans.get((site, subject, visit)), self.references.get((site, subject))
        if scan is None:
            return "", ""
        return scan.date.isoformat(), "" if reference is None else str(study_day(scan.date, reference))


def study_day(date: dt.date, reference: dt.date) -> int:
    """Study day of SDTM: the reference is day 1, the day before it is day -1. There is no day 0.

    Parameters
    ----------
    date, reference : datetime.date

    Returns
    -------
    int

    Examples
    --------
    >>> day = dt.date(2026, 3, 1)
    >>> study_day(day, day), study_day(dt.date(2026, 2, 28), day)
    (1, -1)
    """
    days = (date - reference).days
    return days + 1 if days >= 0 else days


def read_schedule(path: Path, visits: Collection[str]) -> Schedule:
    """Read and check a schedule.

    Parameters
    ----------
    path : Path
        CSV with the columns ``site, subject, visit, date`` and, optionally, ``rfstdtc``, as a spreadsheet program saves
        it. Dates are ISO 8601 (2026-03-31). An empty date is a visit without date.
    visits : collection of str
        Labels of the planned visits.

    Returns
    -------
    Schedule

    Raises
    ------
    UsageError
        If the file is not such a table, a date is not ISO 8601, a visit is not planned or comes twice, or a subject has
        two reference dates. The message names file, line and column.
    """
    scans: dict[tuple[str, str, str], ScanDate] = {}
    references: dict[tuple[str, str], dt.date] = {}
    for row in read_sheet(path, COLUMNS):
        subject = row["site"], row["subject"]
        for column in ("site", "subject"):
            if not row[column]:
                raise UsageError(f"{row.place(column)}: expected a value, found none", hint="fill in the cell")
        if row["visit"] not in visits:
            raise UsageError(
                f"{row.place('visit')}: expected a planned visit ({', '.join(visits)}), "
                f"found a label of {len(row['visit'])} characters that is not planned",
                hint="use the labels of trial.toml",
            )
        reference = _date(row, REFERENCE)
        if reference is not None and references.setdefault(subject, reference) != reference:
            raise UsageError(
                f"{row.place(REFERENCE)}: expected one reference date of a subject, found two", hint="correct one"
            )
        date, key = _date(row, "date"), (*subject, row["visit"])
        if key in scans:
            raise UsageError(
                f"{row.place('visit')}: expected every visit once, found it twice", hint="remove one row"
            )
        if date is not None:
            scans[key] = ScanDate(date, row.place("date"))
    return Schedule(path.name, scans, references)


def _date(row: SheetRow, column: str) -> dt.date | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date.isoformat() != text:
        raise UsageError(
            f"{row.place(column)}: expected a date such as 2026-03-31, found text of {len(text)} characters",
            hint="give the column the format YYYY-MM-DD in the spreadsheet program",
        )
    return date


def differing_intervals(schedule: Schedule, days: Mapping[tuple[str, str, str], int]) -> list[str]:
    """Places of the schedule whose date contradicts the headers of the scans.

    The days of the headers are moved by an unknown number of days for each subject, so that only intervals between
    visits are compared: each date with the first one of the subject.

    Parameters
    ----------
    schedule : Schedule
    days : mapping of (site, subject, visit) to int
        Day of each scan by its header, moved. A scan without an entry is not compared.

    Returns
    -------
    list of str
        File and line of each date that differs, in the order of subjects and dates.
    """
    first: dict[tuple[str, str], int] = {}
    found = []
    for key, scan in sorted(schedule.scans.items(), key=lambda item: (item[0][:2], item[1].date, item[0][2])):
        if key in days:
            shift = scan.date.toordinal() - days[key]
            if first.setdefault(key[:2], shift) != shift:
                found.append(scan.place)
    return found
