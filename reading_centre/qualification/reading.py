"""Operational qualification (OQ): reading, signature, lock, tables and release on the digital reference trial."""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import UsageError, listed
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.sheets import read_sheet
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.reading.signature import MEANING
from mri_pipeline.reading.worklist import WORKLIST_CSV
from mri_pipeline.reading.worklist_item import LESIONS_CSV
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction, AuditEntry
from mri_pipeline.tables.io import csv_text, read_table
from reading_centre.qualification.checks import Check, Result, check
from reading_centre.qualification.identities import known_identities
from reading_centre.qualification.reference import TIMEPOINTS, Reference
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import Proof, lock_reads
from reading_centre.use_cases.tables.release import release_trial_tables
from reading_centre.use_cases.tables.trial_tables import write_trial_tables

READER: Final = "OQ1"
_NAME: Final = "Reader of the qualification"


@dataclass(frozen=True)
class Read:
    """The reference trial, read, signed and locked by one reader who accepts everything.

    Parameters
    ----------
    reference : Reference
        Of the trial that was read.
    automatic, confirmed : list of dict
        Rows of lesion_timepoints.csv before and after the reads, as text.
    wrong_password, second_import : str
        The message when a wrong password was given, and when the worklist was imported again after the lock. Empty if
        nothing was refused.
    """

    reference: Reference
    automatic: list[dict[str, str]]
    confirmed: list[dict[str, str]]
    wrong_password: str
    second_import: str

    def entries(self, action: AuditAction) -> list[AuditEntry]:
        """Entries of the audit trail.

        Parameters
        ----------
        action : AuditAction

        Returns
        -------
        list of AuditEntry
        """
        return _entries(self.reference.trial, action)


@contextmanager
def read_everything(reference: Reference) -> Iterator[Read]:
    """Read a copy of the reference trial: accept every lesion, sign, lock, and write the final tables.

    Parameters
    ----------
    reference : Reference

    Yields
    ------
    Read
        Of the copy, which is removed afterwards.
    """
    automatic = reference.timepoints()
    password = secrets.token_urlsafe(24)
    with reference.copy() as trial:
        account = (
            f'\n[[readers]]\ncode = "{READER}"\nname = "{_NAME}"\npassword_hash = "{password_hash(password)}"\n'
        )
        write_atomic(trial.protocol_file, trial.protocol_file.read_text(encoding="utf-8") + account)
        worklist = trial.root.parent / "worklist"
        export_reads(trial.root, worklist)
        accept_everything(worklist)
        import_reads(trial.root, worklist, reader=READER)
        wrong = _refusal(trial.root, Proof(password=lambda _statement: f"{password}x"))
        lock_reads(trial.root, reader=READER, proof=Proof(password=lambda _statement: password))
        again = _second_import(trial.root, worklist)
        write_trial_tables(trial.root, provisional=False)
        run = replace(reference.run, trial=trial)
        copied = replace(reference, run=run)
        yield Read(copied, automatic, copied.timepoints(), wrong, again)


def accept_everything(worklist: Path) -> None:
    """Write the decisions of a reader who accepts every lesion.

    Parameters
    ----------
    worklist : Path
        Exported worklist.
    """
    for path in (*sorted((worklist / "items").glob(f"*/{LESIONS_CSV}")), worklist / WORKLIST_CSV):
        with path.open(encoding="utf-8", newline="") as stream:
            names = next(csv.reader(stream))
        answer = {"decision": "accept"} if "decision" in names else {"done": "yes"}
        write_atomic(path, csv_text(names, [{**row, **answer} for row in read_sheet(path, names)]))


def _refusal(folder: Path, proof: Proof) -> str:
    try:
        lock_reads(folder, reader=READER, proof=proof)
    except UsageError as error:
        return error.message
    return ""


def _second_import(folder: Path, worklist: Path) -> str:
    try:
        import_reads(folder, worklist, reader=READER)
    except UsageError as error:
        return error.message
    return ""


@check("READ-01", "accepted lesions give the counts and volumes of the proposals")
def confirmed_counts(read: Read) -> Result:
    """Compare the tables after the reads with those before.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    status = {"read_status": ""}
    changed = [
        f"{before['subject']} {before['visit']}"
        for before, after in zip(read.automatic, read.confirmed, strict=False)
        if before | status != after | status
    ]
    same = len(read.automatic) == len(read.confirmed)
    return same and not changed and bool(
        read.confirmed
    ), f"{len(read.confirmed)} visits, changed: {listed(changed) or 'none'}"


@check("READ-03", "a wrong password signs nothing; the signature has name, time and meaning")
def signatures(read: Read) -> Result:
    """Look at the refused and the given signature in the audit trail.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    refused = read.entries(AuditAction.SIGNATURE_REFUSED)
    signed = [entry.details.get("signature", {}) for entry in read.entries(AuditAction.READ_LOCKED)]
    whole = [
        one
        for one in signed
        if one.get("meaning") == MEANING and one.get("at") and re.fullmatch(r"[0-9a-f]{64}", one.get("signed", ""))
    ]
    passed = len(refused) == 1 and bool(read.wrong_password) and bool(signed) and len(whole) == len(signed)
    return passed, f"{len(refused)} refused, {len(whole)} of {len(signed)} locked reads signed"


@check("READ-04", "no import into locked reads")
def locked_reads(read: Read) -> Result:
    """Look at the import after the lock.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    return bool(read.second_import), read.second_import or "imported"


@check("TABLE-05", "numbers of locked reads alone")
def final_tables(read: Read) -> Result:
    """Look at the status of the reads in the final tables.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    analysed = [row for row in read.confirmed if row["scan_status"] == ScanStatus.ANALYSED.value]
    statuses = {row["read_status"] for row in analysed}
    return statuses == {ReadStatus.LOCKED.value}, f"{len(analysed)} visits: {listed(sorted(statuses))}"


@check("BLIND-01", "neither trial number, site, name nor date in any table")
def blinded_tables(read: Read) -> Result:
    """Search the tables for what identifies patient and site.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    source = read.reference.run.source
    sites = {upload.site for upload in source.uploads}
    words = "|".join(map(re.escape, sorted(known_identities(source) | sites)))
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE)
    files = sorted(path for path in read.reference.trial.tables.rglob("*") if path.is_file())
    found = [path.name for path in files if pattern.search(path.read_text(encoding="utf-8"))]
    return bool(files) and not found, f"{len(files)} tables, identified: {listed(found) or 'none'}"


@check("BLIND-02", "trial numbers in the released tables alone, with the numbers of the blinded ones")
def release(read: Read) -> Result:
    """Release the tables of a copy and compare them row by row.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    with read.reference.copy("derivatives", "rawdata", "reports") as trial:
        out = trial.root.parent / "released"
        release_trial_tables(trial.root, reason="qualification", out=out)
        reasons = [entry.details["reason"] for entry in _entries(trial, AuditAction.TABLES_RELEASED)]
        released = read_table(out / TIMEPOINTS)
    code_of = read.reference.run.codes
    back = [{name: value for name, value in row.items() if name != "site"} for row in released]
    back = [row | {"subject": code_of.get(row["subject"], "unknown")} for row in back]
    equal = sorted(map(_cells, back)) == sorted(map(_cells, read.confirmed))
    return equal and reasons == [
        "qualification"
    ], f"{len(released)} rows, {'equal' if equal else 'not equal'}; reason recorded"


def _cells(row: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(row.items())


def _entries(trial: Trial, action: AuditAction) -> list[AuditEntry]:
    with Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW) as registry:
        return registry.audit_entries(action)


OQ_READ: tuple[Check[Read], ...] = (
    confirmed_counts, signatures, locked_reads, final_tables, blinded_tables, release,
)  # fmt: skip
