"""Release of tables with trial numbers. Only this module and `submission` combine blinded results and trial numbers."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import has_digest
from mri_pipeline.tables.io import DICTIONARY_FILE, TABLES, read_table
from mri_pipeline.tables.schedule import Schedule
from mri_pipeline.tables.sdtm import NV, SCAN_MISSING
from mri_pipeline.tables.submission import released_nv, write_submission

SITE_COLUMN = {
    "name": "site",
    "type": "text",
    "unit": None,
    "rule": "code of the site of the subject",
    "missing": "never",
}
NO_SCHEDULE = Schedule()
_NUMBER_RULE = "trial number of the subject (released with the sealed key)"


@dataclass(frozen=True)
class Released:
    """A release.

    Parameters
    ----------
    files : tuple of Path
    subjects : int
        Number of subjects in the tables.
    dates : str
        Where the dates of nv.csv come from, or why there are none.
    """

    files: tuple[Path, ...]
    subjects: int
    dates: str


def require_as_written(tables: Path, digests: Mapping[str, str]) -> None:
    """Refuse tables that are not those of the last ``tables`` command.

    Parameters
    ----------
    tables : Path
        Folder of the blinded tables.
    digests : mapping of str to str
        SHA-256 by file name, from the audit trail. Empty if an earlier version wrote the tables.

    Raises
    ------
    UsageError
        If there are no digests, or a file is missing or changed.
    """
    if not digests:
        raise UsageError(
            "expected tables whose digests are in the audit trail, found none (or tables by an earlier version)",
            hint="write the tables again: mri-pipeline tables TRIAL",
        )
    for name in (*(table.file for table in TABLES), DICTIONARY_FILE):
        path = tables / name
        if not has_digest(path, digests.get(name)):
            raise UsageError(
                f"expected {name} as 'mri-pipeline tables' wrote it, found it "
                + ("changed" if path.is_file() else "missing"),
                hint="write the tables again, and find out who changed them",
            )


def require_final(tables: Path) -> None:
    """Refuse provisional tables.

    Parameters
    ----------
    tables : Path
        Folder of the blinded tables with their dictionary.

    Raises
    ------
    UsageError
        If they may have numbers of reads that are not locked.
    """
    if json.loads((tables / DICTIONARY_FILE).read_bytes())["provisional"]:
        raise UsageError(
            "expected tables from locked reads for the release, found provisional ones",
            hint="write the final tables first: mri-pipeline tables TRIAL; or give --provisional with --release",
        )


def release_tables(
    tables: Path,
    out: Path,
    key: Mapping[str, tuple[str, str]],
    *,
    reason: str,
    usubjid: str = "{study}-{site}-{subject}",
    schedule: Schedule = NO_SCHEDULE,
) -> Released:
    """Write the tables with site and trial number in place of the blinded code, and nv.xpt and define.xml.

    The caller reads the key from the sealed folder. The caller enters the release and its reason in the audit trail
    before it calls this function.

    Parameters
    ----------
    tables : Path
        Folder of the blinded tables.
    out : Path
        New folder outside of `tables`. Only its owner gets access (mode 0700, files 0600).
    key : mapping of code to (site, trial number)
    reason : str
        Why the blinding is lifted. It must not be empty and is not written to the tables.
    usubjid : str
        Pattern of USUBJID.
    schedule : Schedule
        Dates of the scans for nv.

    Returns
    -------
    Released

    Raises
    ------
    UsageError
        If a table is missing, a code is not in the key, two subjects have one USUBJID, a text does not fit into nv.xpt,
        the folder exists or is inside of `tables`, or the reason is empty.
    """
    _require_reason_and_new_folder(reason, out, tables)
    texts = {table.file: read_table(tables / table.file) for table in TABLES}
    codes = _codes(texts, key)
    nv = released_nv(texts[NV.file], key, usubjid=usubjid, schedule=schedule)
    dates = _dates(nv, schedule, frozenset(key.values()))
    released = {
        table.file: _with_numbers(table.names, texts[table.file], key) for table in TABLES if table is not NV
    }
    released[NV.file] = _csv(NV.names, nv)
    dictionary = _released_dictionary(tables / DICTIONARY_FILE, usubjid) | {"dates": dates}
    released[DICTIONARY_FILE] = json.dumps(dictionary, indent=2, ensure_ascii=False) + "\n"
    out.mkdir(mode=0o700, parents=True)
    out.chmod(0o700)
    try:
        files = [write_atomic(out / name, text, mode=0o600) for name, text in released.items()]
        files += write_submission(out, nv, study=nv[0]["STUDYID"] if nv else "", created=_now(), dates=dates)
    except BaseException:
        shutil.rmtree(out)  # a partial release must not remain
        raise
    return Released(tuple(files), len(codes), dates)


def _require_reason_and_new_folder(reason: str, out: Path, tables: Path) -> None:
    if not reason.strip():
        raise UsageError(
            "expected a reason for the release, found none",
            hint="give the reason for which the blinding is lifted",
        )
    inside = tables.resolve() in {out.resolve(), *out.resolve().parents}
    if inside or out.exists():
        raise UsageError(
            "expected a new folder outside of the blinded tables, found "
            + ("one inside" if inside else "one that exists"),
            hint="give another folder, without access for readers and analysts who must remain blinded",
        )


def _codes(texts: Mapping[str, list[dict[str, str]]], key: Mapping[str, tuple[str, str]]) -> set[str]:
    """The blinded codes of all tables; each must be in the key."""
    columns = {table.file: "USUBJID" if table is NV else "subject" for table in TABLES}
    codes = {row[columns[name]] for name, rows in texts.items() for row in rows}
    if without := len(codes - set(key)):
        raise UsageError(
            f"expected every code in the sealed key, found {without} without an entry",
            hint="use the tables and the sealed folder of the same trial",
        )
    return codes


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _dates(nv: Iterable[Mapping[str, str]], schedule: Schedule, subjects: frozenset[tuple[str, str]]) -> str:
    if not schedule.file:
        return "none, because the release had no schedule of the sites"
    scans = {(row["USUBJID"], row["VISIT"]): row["NVDTC"] for row in nv if row["NVREASND"] != SCAN_MISSING}
    without = sum(not date for date in scans.values())
    strangers = sum((site, number) not in subjects for site, number, _ in schedule.scans)
    return (
        f"from {schedule.file}; it has no date of {without} of {len(scans)} visits with a scan"
        f", and {strangers} of its dates are of no subject of the trial"
    )


def _with_numbers(names: tuple[str, ...], rows: list[dict[str, str]], key: Mapping[str, tuple[str, str]]) -> str:
    numbered = []
    for row in rows:
        site, number = key[row["subject"]]
        numbered.append({**row, "site": site, "subject": number})
    return _csv(("site", *names), numbered)


def _csv(names: tuple[str, ...], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue()


def _released_dictionary(path: Path, usubjid: str) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(
            f"expected {path.name} in the folder of the tables, found none", hint="make the tables again"
        )
    dictionary: dict[str, Any] = json.loads(path.read_bytes())
    for name, table in dictionary["tables"].items():
        for column in table["columns"]:
            if column["name"] == "subject":
                column["rule"] = _NUMBER_RULE
            if column["name"] == "USUBJID":
                column["rule"] = f"{usubjid} with the trial number of the subject (released with the sealed key)"
        if name != NV.file:
            table["columns"].insert(0, SITE_COLUMN)
    return dictionary
