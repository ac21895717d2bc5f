"""Qualification of this installation for a trial: IQ, OQ and PQ in one report, signed and in the audit trail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mri_pipeline import __version__
from mri_pipeline.core.accounts import Account, Role
from mri_pipeline.core.errors import ReadingCentreError, SettingsError, UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digests
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import LesionRules, Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.reading.accounts import require_password
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction, utc_now
from qc.reports.pdf import chromium, write_pdf
from qc.reports.qualification import (
    Line,
    QualificationReport,
    QualificationSignature,
    RequirementResult,
    qualification_html,
    qualification_json,
)
from reading_centre.qualification.attacks import OQ_ATTACKS
from reading_centre.qualification.cases import ReferenceCase, check_case, not_done, read_cases
from reading_centre.qualification.checks import Check, CheckFinding, Subject, reason_of
from reading_centre.qualification.identities import no_identity
from reading_centre.qualification.installation import IQ_SOFTWARE, Installation, environment
from reading_centre.qualification.interruption import killed_and_resumed
from reading_centre.qualification.reading import OQ_READ, Read, read_everything
from reading_centre.qualification.reference import Reference
from reading_centre.qualification.reference_checks import OQ_TRUTH
from reading_centre.qualification.requirements import load_requirements, load_tests
from reading_centre.qualification.storage import IQ_TRIAL, Place
from reading_centre.use_cases.demo import Say, analyse, simulate
from reading_centre.use_cases.trial.people import person_of
from reading_centre.use_cases.trial.private_folder import private_folder, sweep

MEANING: Final = "I have reviewed this report and confirm that it has the results of this qualification"
"""What a person states by signing."""

OQ_REFERENCE: tuple[Check[Reference], ...] = (no_identity, *OQ_TRUTH, killed_and_resumed)
"""Checks of the analysed reference trial."""

OQ_LOCKED: tuple[Check[Read], ...] = (*OQ_READ, *OQ_ATTACKS)
"""Checks of the reference trial that was read and locked."""

CHECKS: tuple[Check[Installation] | Check[Place] | Check[Reference] | Check[Read], ...] = (
    *IQ_SOFTWARE, *IQ_TRIAL, *OQ_REFERENCE, *OQ_LOCKED,
)  # fmt: skip
"""All checks but those of the centre's own cases."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Qualified:
    """A qualification and its files.

    Parameters
    ----------
    report : QualificationReport
    signed : bool
    page : Path
        HTML; the JSON and the PDF have the same name.
    """

    report: QualificationReport
    signed: bool
    page: Path


def qualify_trial(
    folder: Path,
    *,
    by: str = "",
    cases: Path | None = None,
    nprocs: int = 1,
    pdf: bool = False,
    say: Say,
    password: Callable[[str], str],
) -> Qualified:
    """Qualify this installation for a trial and write the report.

    The operation is qualified in a folder on the file system of the trial, which is removed afterwards. The trial gets
    the report and one audit entry.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    by : str
        Code of the person who signs; empty: the report is not signed.
    cases : Path, optional
        CSV file of the centre's own reference cases (`read_cases`). Without it the performance is not qualified.
    nprocs : int
        Number of subjects analysed in parallel.
    pdf : bool
        True: write a PDF, too.
    say : callable
        Prints a line of progress.
    password : callable
        Gets the statement that is signed and asks for the password. It is called when the report can be read.

    Returns
    -------
    Qualified

    Raises
    ------
    SettingsError
        If the person has no account.
    UsageError
        If there is no trial, a case cannot be used, Chromium is missing for the PDF, or the password is wrong. With a
        wrong password, the report is written without signature.
    ExternalToolError
        If Chromium fails. The report is written without PDF.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    signer = _signer(protocol, by) if by else None
    own_cases = read_cases(cases) if cases is not None else []
    if pdf:
        chromium()
    report = _examined(trial, protocol, own_cases, nprocs, say)
    started = report.started[:19].replace(":", "").replace("-", "")
    page = trial.reports / f"qualification_{started}Z_{report.digest[:8]}.html"
    signature, failure = _signed(report, page, signer, password) if signer is not None else (None, None)
    files = _write(report, page, signature)
    try:
        files += [write_pdf(page)] if pdf else []
    except ReadingCentreError as error:
        failure = failure or error
    with Registry.open(trial, protocol) as registry:
        code = signer.code if signer and signature else ""
        registry.audit(AuditAction.QUALIFICATION_WRITTEN, reader=code, details=_details(report, files, signature))
        if signer is not None and signature is None and failure is not None:
            registry.audit(AuditAction.SIGNATURE_REFUSED, reader=signer.code, details={"reason": failure.message})
    if failure is not None:
        state = "signed" if signature else "not signed"
        raise type(failure)(failure.message, hint=f"the report is {state}: {page}") from failure
    return Qualified(report, signature is not None, page)


def _examined(
    trial: Trial, protocol: Protocol, cases: Sequence[ReferenceCase], nprocs: int, say: Say
) -> QualificationReport:
    started, machine = utc_now(), environment()
    sweep(trial.work)
    with private_folder(trial.work) as scratch:
        findings = [
            *_installation(trial, protocol, scratch, say),
            *_operation(scratch, nprocs, say),
            *_performance(cases, scratch, protocol.lesions, say),
        ]
    return QualificationReport(
        protocol.name, __version__, settings_digest(protocol), started, utc_now(), machine, _results(findings)
    )  # fmt: skip


def _signed(
    report: QualificationReport, page: Path, signer: Account, password: Callable[[str], str]
) -> tuple[QualificationSignature | None, ReadingCentreError | None]:
    """The signature, or why there is none. The person can read the report before."""
    draft = _write(report, page, None)
    statement = f"Qualification of {report.trial}: {report.verdict.value}. Report: {page}. {MEANING}."
    try:
        return _signature(report, signer, password(statement)), None
    except UsageError as error:
        return None, error
    except BaseException:  # interrupted at the question
        for path in draft:
            path.unlink()
        raise


def _signer(protocol: Protocol, by: str) -> Account:
    account = person_of(protocol, by)
    if account is not None and account.one_time_password_hash:
        raise SettingsError(
            "--by: expected a person with a password of the own, found a one-time password",
            hint="sign in to the web application and set your own password first",
        )
    if account is None or not account.password_hash or account.role is Role.SITE:
        raise SettingsError(
            "--by: expected a person of the reading centre with a password in trial.toml, found "
            + ("none of this code" if account is None or not account.password_hash else "a person of a site"),
            hint="make an account: mri-pipeline read TRIAL --account --reader CODE",
        )
    return account


def _run(checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[CheckFinding]:
    for one in checks:
        _LOG.info("%s: %s", one.requirement, one.expected)
        yield one(subject)


def _installation(trial: Trial, protocol: Protocol, scratch: Path, say: Say) -> Iterator[CheckFinding]:
    say("IQ   installation, disk, database, sealed folder")
    yield from _run(IQ_SOFTWARE, Installation(scratch))
    yield from _run(IQ_TRIAL, Place(trial, protocol, scratch))


def _operation(scratch: Path, nprocs: int, say: Say) -> Iterator[CheckFinding]:
    """The digital reference trial. A check that cannot be reached has failed."""
    try:
        run = simulate(scratch / "reference", say=lambda line: say(f"OQ   {line}"))
        analyse(run, nprocs=nprocs, say=lambda line: say(f"OQ   {line}"))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the requirements are not met
        reason = reason_of(error)
        yield from (one.not_reached(reason) for one in OQ_REFERENCE)
        yield from (one.not_reached(reason) for one in OQ_LOCKED)
        return
    yield from check_reference(Reference(run, scratch, nprocs), say=say)


def check_reference(reference: Reference, *, say: Say) -> Iterator[CheckFinding]:
    """Check the analysed reference trial, then a copy that is read and locked.

    Parameters
    ----------
    reference : Reference
    say : callable
        Prints a line of progress.

    Yields
    ------
    CheckFinding
    """
    say("OQ   truth, identities, provenance, second run, kill and resume")
    yield from _run(OQ_REFERENCE, reference)
    say("OQ   reads, signature, lock, tables, release, changes behind the program")
    done = 0
    try:
        with read_everything(reference) as read:
            for finding in _run(OQ_LOCKED, read):
                done += 1
                yield finding
    except Exception as error:  # noqa: BLE001 - as above
        reason = reason_of(error)
        yield from (one.not_reached(reason) for one in OQ_LOCKED[done:])


def _performance(
    cases: Sequence[ReferenceCase], scratch: Path, rules: LesionRules, say: Say
) -> Iterator[CheckFinding]:
    for number, case in enumerate(cases, start=1):
        say(f"PQ   case {number} of {len(cases)}")
        try:
            findings = check_case(case, scratch / f"case-{number}", rules)
        except Exception as error:  # noqa: BLE001 - as above
            findings = not_done(case, reason_of(error))
        yield from findings


def _results(findings: Sequence[CheckFinding]) -> tuple[RequirementResult, ...]:
    tests = load_tests()
    return tuple(
        RequirementResult(
            one.id,
            one.text,
            one.source,
            tuple(Line(f.expected, f.found, f.passed) for f in findings if f.requirement == one.id),
            tuple(tests.get(one.id, ())),
        )
        for one in load_requirements()
    )


def _signature(report: QualificationReport, signer: Account, password: str) -> QualificationSignature:
    account = require_password(signer, password)
    name = signer.name or signer.code
    return QualificationSignature(signer.code, name, signer.role.value, utc_now(), MEANING, report.digest, account)


def _write(report: QualificationReport, page: Path, signature: QualificationSignature | None) -> list[Path]:
    return [
        write_atomic(page.with_suffix(".json"), qualification_json(report, signature)),
        write_atomic(page, qualification_html(report, signature)),
    ]


def _details(
    report: QualificationReport, files: Sequence[Path], signature: QualificationSignature | None
) -> dict[str, object]:
    """Of the audit entry."""
    details: dict[str, object] = {
        "verdict": report.verdict.value,
        "failed": [one.id for one in report.failed],
        "content": report.digest,
        "files": file_digests(files),
    }
    if signature is not None:
        parts = ("name", "at", "meaning", "account")
        details["signature"] = {part: getattr(signature, part) for part in parts}
    return details
