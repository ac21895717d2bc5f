"""A trial in progress for sites and data managers, without images: scans, queries, refused uploads, reads."""

from __future__ import annotations

import datetime as dt
import functools
import sys
from pathlib import Path

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.registry import Question, ReadCounts, Registry, ScanIdentity
from reading_centre.use_cases.trial.init import init_trial
from reading_centre.use_cases.uploads.dummy_run.receive import receive_dummy_run
from reading_centre.use_cases.uploads.ingest.visit import receive_visit

STAFF = {
    "S01-AB": ("site", "S01", "the first site's word"),
    "S02-CD": ("site", "S02", "the second site's word"),
    "DM": ("data manager", "", "the data manager's"),
    "AUD": ("auditor", "", "the auditor's word"),
}
"""Role, site and password by code."""
READERS = ("R1", "R2")
NUMBERS = ("0001", "0002", "0003")
BEGIN = dt.date(2026, 1, 12)
"""Day of the first scan of subject 0001; that of the next ones is 100 and 200 days later."""


@functools.cache
def staff_accounts() -> str:
    """Accounts of ``trial.toml``."""
    text = ""
    for code, (role, site, password) in STAFF.items():
        text += f'\n[[accounts]]\ncode = "{code}"\nname = "Name of {code}"\nrole = "{role}"\n'
        text += f'site = "{site}"\n' if site else ""
        text += f'password_hash = "{password_hash(password)}"\n'
    return text


def write_office_trial(folder: Path) -> Trial:
    """Site S01 with three subjects, site S02 with a subject and a refused dummy run."""
    trial = init_trial(folder)
    text = trial.protocol_file.read_text()
    assert 'code = "S01"' in text
    text = text.replace('code = "S01"', f'code = "S01"\nsubjects = {[*NUMBERS, "0009"]}'.replace("'", '"'), 1)
    readers = "".join(f'\n[[readers]]\ncode = "{code}"\n' for code in (*READERS, "ADJ"))
    readers += 'role = "adjudicator"\n'
    text = text.replace("readers = 1", "readers = 2") + readers + staff_accounts()
    trial.protocol_file.write_text(text)
    sealed = Sealed.open(trial)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="d1", findings=[_question("SNR")])
        registry.record_dummy_run("S02", accepted=True, upload_digest="d2")
        for number, subject in enumerate(NUMBERS):
            code = sealed.code_for("S01", subject)
            _enter(trial, registry, code, "S01", begin=BEGIN + dt.timedelta(days=100 * number), visits=3 - number)
        _enter(trial, registry, sealed.code_for("S02", "0101"), "S02", begin=BEGIN, visits=1)
        _read(registry, sealed.code_for("S01", "0001"))
    nothing = folder.parent / "no.dcm"
    nothing.write_text("no DICOM")
    for receive, more in ((receive_visit, {"subject": "0009", "visit": "wk00"}), (receive_dummy_run, {})):
        with pytest.raises(UploadRefusedError):
            receive(trial.root, nothing, site="S01" if more else "S02", **more)
    return trial


def _question(what: str) -> Question:
    return Question(
        f"FLAIR: expected {what} of at least 10, found 7.5", rule="snr", contrast="FLAIR", measured=7.5, limit=10,
        to_do="state whether the coil was changed",
    )  # fmt: skip


def _enter(trial: Trial, registry: Registry, code: str, site: str, *, begin: dt.date, visits: int) -> None:
    secret = Sealed.open(trial).secret("blinding")
    for index, visit in enumerate(load_protocol(trial.protocol_file).visits[:visits]):
        day = Blinding(code, secret).shifted_day((begin + dt.timedelta(weeks=visit.week)).toordinal())
        identity = ScanIdentity(shifted_day=day.toordinal())
        registry.record_scan(
            code, visit.label, site=site, upload_digest=f"{code}{index}", identity=identity,
            findings=[_question("SNR")] if index == 0 else [],
        )  # fmt: skip
        if index < 2:
            registry.record_analyses(code, {visit.label: (ScanStatus.ANALYSED, "")})


def _read(registry: Registry, code: str) -> None:
    """Two reads of both analysed visits: they agree at the first visit and disagree at the second."""
    for visit, counts, found in (("wk00", "R1", []), ("wk04", "", [{"limit": "max_gel_count_difference"}])):
        digests = {reader: f"{reader}{visit}" for reader in READERS}
        for reader, digest in digests.items():
            reads = {(code, visit): ReadCounts(digest=digest, version=1)}
            registry.record_reads(reads, reader=reader, status=ReadStatus.CONFIRMED)
        details = {"disagreements": found, "limits": {}}
        assert registry.record_comparison(code, visit, digests=digests, counts=counts, details=details)
    registry.lock_reads([(code, "wk00")], reader="R1")


if __name__ == "__main__":  # a trial to look at: python -m tests.unit.office_trial FOLDER
    write_office_trial(Path(sys.argv[1]))
