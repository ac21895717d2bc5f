"""Operational qualification (OQ): changes that bypass the program are detected and named.

Each change is made on its own copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import listed
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digests
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from reading_centre.qualification.checks import Check, Result, check
from reading_centre.qualification.reading import Read
from reading_centre.use_cases.trial.audit import anchor_audit
from reading_centre.use_cases.trial.audit_verify import verify_trial

_TRIGGERS: Final = ("audit_no_update", "audit_no_delete")
_NOT_NEEDED: Final = ("derivatives", "rawdata", "reports", "quarantine")
"""Folders of which the audit trail has no digest."""

Change = Callable[[Trial], str]
"""Changes a trial and returns what a deviation must name."""


@dataclass(frozen=True)
class Attack:
    """A change of a trial that bypasses the program.

    Parameters
    ----------
    requirement : str
        Id of the requirement.
    what : str
        What is changed.
    change : callable
    """

    requirement: str
    what: str
    change: Change


def _sql(statement: str, named: str, trial: Trial) -> str:
    """Change the database as its owner can."""
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        for trigger in _TRIGGERS:
            raw.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        if raw.execute(statement).rowcount < 1:
            raise LookupError("expected a row to change, found none")
    return named


def _last_entry(trial: Trial) -> int:
    with closing(sqlite3.connect(trial.registry_file)) as raw:
        return int(raw.execute("SELECT max(seq) FROM audit").fetchone()[0])


def _middle_entry(statement: str, trial: Trial) -> str:
    """Change the entry in the middle of the trail."""
    number = _last_entry(trial) // 2
    return _sql(statement.format(number=number), f"entry {number}", trial)


def _flip(path: Path, named: str) -> str:
    """Change one bit in the middle of a file."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    path.chmod(mode)
    return named


def _of_a_read(pattern: str, trial: Trial) -> str:
    """Change a file of a read."""
    path = next(iter(sorted(trial.reads.glob(f"*/*/{pattern}"))))
    subject, visit = path.relative_to(trial.reads).parts[:2]
    return _flip(path, f"subject {subject}, visit {visit}")


def _of_the_tables(name: str, trial: Trial) -> str:
    return _flip(trial.tables / name, name)


def _no_table(name: str, trial: Trial) -> str:
    (trial.tables / name).unlink()
    return name


def _swapped_numbers(trial: Trial) -> str:
    """Give two subjects the trial numbers of each other."""
    path = trial.sealed / "subjects.csv"
    header, *rows = path.read_text(encoding="ascii").splitlines()
    cells = [row.split(",") for row in rows]
    cells[0][2], cells[1][2] = cells[1][2], cells[0][2]
    path.write_text("\n".join([header, *map(",".join, cells)]) + "\n", encoding="ascii")
    return "sealed/subjects.csv"


def _other_secret(trial: Trial) -> str:
    return _flip(trial.sealed / "pepper", "sealed/pepper")


def _changed_report(trial: Trial) -> str:
    """Enter a qualification report and change it."""
    path = write_atomic(trial.reports / "qualification.json", "{}")
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.audit(AuditAction.QUALIFICATION_WRITTEN, details={"files": file_digests([path])})
    return _flip(path, f"reports/{path.name}")


ATTACKS: Final[tuple[Attack, ...]] = (
    Attack("AUDIT-01", "the gate of a site is opened", partial(
        _sql, "UPDATE sites SET gate = 'accepted' WHERE gate = 'refused'", "gate of site")),
    Attack("AUDIT-01", "the status of a scan is changed", partial(
        _sql, "UPDATE scans SET status = 'failed' WHERE visit = 'wk12'", "scan of subject")),
    Attack("AUDIT-01", "the numbers of a read are changed", partial(
        _sql, "UPDATE reads SET accepted = accepted + 1 WHERE visit = 'wk00'", "read of subject")),
    Attack("AUDIT-01", "a read is deleted", partial(
        _sql, "DELETE FROM reads WHERE visit = 'wk00'", "read of subject")),
    Attack("AUDIT-01", "a measure is changed", partial(
        _sql, "UPDATE measures SET upload_digest = 'x' WHERE id = 1", "measures of upload")),
    Attack("AUDIT-02", "an entry is changed", partial(
        _middle_entry, "UPDATE audit SET os_user = os_user || 'x' WHERE seq = {number}")),
    Attack("AUDIT-02", "the time of an entry is changed", partial(
        _middle_entry, "UPDATE audit SET at = '2000-01-01T00:00:00+00:00' WHERE seq = {number}")),
    Attack("AUDIT-02", "an entry is deleted", partial(
        _middle_entry, "DELETE FROM audit WHERE seq = {number}")),
    Attack("AUDIT-03", "a mask of a read is changed", partial(_of_a_read, "readers/*/01/t2_lesions.nii.gz")),
    Attack("AUDIT-03", "the record of a read is changed", partial(_of_a_read, "readers/*/01/read.json")),
    Attack("AUDIT-03", "an image of a locked read is changed", partial(_of_a_read, "locked/FLAIR.nii.gz")),
    Attack("AUDIT-04", "a table is changed", partial(_of_the_tables, "lesion_timepoints.csv")),
    Attack("AUDIT-04", "the dictionary of the tables is changed", partial(_of_the_tables, "data_dictionary.json")),
    Attack("AUDIT-04", "a table is removed", partial(_no_table, "endpoints.csv")),
    Attack("AUDIT-05", "the trial numbers of two subjects are exchanged", _swapped_numbers),
    Attack("AUDIT-05", "the secret is changed", _other_secret),
    Attack("AUDIT-08", "a qualification report is changed", _changed_report),
)  # fmt: skip


def attack_checks() -> tuple[Check[Read], ...]:
    """A check for each attack.

    Returns
    -------
    tuple of Check
    """
    return tuple(Check(one.requirement, f"{one.what}: found by name", partial(_found, one)) for one in ATTACKS)


def _found(attack: Attack, read: Read) -> Result:
    """Make a change on a copy and verify the copy."""
    with read.reference.copy(*_NOT_NEEDED) as trial:
        named = attack.change(trial)
        deviations = verify_trial(trial.root).deviations
    hits = [one for one in deviations if named in one]
    return bool(hits), (hits or [listed(deviations) or "no deviation"])[0]


@check("AUDIT-02", "the latest entry is cut off: found by the anchor")
def cut_trail(read: Read) -> Result:
    """Keep an anchor, cut the trail, and verify.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    with read.reference.copy(*_NOT_NEEDED) as trial:
        anchor = trial.root.parent / "anchor.json"
        count, _ = anchor_audit(trial.root, anchor)
        _sql("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", "", trial)
        deviations = verify_trial(trial.root, anchor).deviations
    hits = [one for one in deviations if f"entry {count} of the anchor" in one]
    return bool(hits), (hits or [listed(deviations) or "no deviation"])[0]


@check("AUDIT-01", "the untouched trial has no deviation")
def untouched(read: Read) -> Result:
    """Verify a copy without a change.

    Parameters
    ----------
    read : Read

    Returns
    -------
    Result
    """
    with read.reference.copy(*_NOT_NEEDED) as trial:
        found = verify_trial(trial.root)
    return not found.deviations, listed(found.deviations) or f"none in {found.entries} entries"


OQ_ATTACKS: tuple[Check[Read], ...] = (untouched, *attack_checks(), cut_trail)
