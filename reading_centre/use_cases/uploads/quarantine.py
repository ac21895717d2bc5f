"""Refused uploads: list them, try them again, accept or discard them by a decision of the reading centre."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ComplianceError, IdentityError, UploadRefusedError, UsageError
from mri_pipeline.core.io.locks import LockedError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.quarantined import (
    QuarantineEntry,
    only_user,
    quarantine_entries,
    quarantine_entry,
    remove_settled,
    settle_entry,
    settling,
)
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.trial.storage import storage_faults
from reading_centre.use_cases.uploads.dummy_run.receive import ReceivedDummyRun, receive_dummy_run
from reading_centre.use_cases.uploads.ingest.visit import ReceivedVisit, receive_visit
from reading_centre.use_cases.uploads.task import DISCARDED, decided_entries, refusal_of, settle_decided

DUMMY_RUN = "dummy run"
REFUSED_AGAIN = "refused again: "
"""Before the name of the later entry, in the outcome of an entry."""


def list_quarantine(folder: Path, *, settled: bool = False) -> list[QuarantineEntry]:
    """The refused uploads of a trial, oldest first.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    settled : bool, optional
        True: with the entries that were accepted, discarded or tried again.

    Returns
    -------
    list of QuarantineEntry
    """
    return [entry for entry in _decided(Trial.existing(folder)) if settled or not entry.outcome]


def _decided(trial: Trial) -> list[QuarantineEntry]:
    with Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW) as registry:
        return decided_entries(trial, registry)


def show_quarantine(folder: Path, name: str) -> QuarantineEntry:
    """One refused upload.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    name : str
        Name of the entry.

    Returns
    -------
    QuarantineEntry

    Raises
    ------
    UsageError
        If there is no such entry.
    """
    trial = Trial.existing(folder)
    entry = quarantine_entry(trial.quarantine, name)
    return entry if entry.outcome else next(one for one in _decided(trial) if one.name == name)


def retry_upload(
    folder: Path,
    name: str,
    *,
    subject: str = "",
    visit: str = "",
    replace_because: str = "",
    before_infusion: bool | None = None,
    patient_changed: str = "",
    stated: Mapping[Contrast, int] | None = None,
) -> ReceivedVisit | ReceivedDummyRun:
    """Try a refused upload again, as `receive_visit` or `receive_dummy_run` of the copy in quarantine.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    name : str
        Name of the entry.
    subject : str
        Trial number of the subject. It is not stored with the upload; required for a visit.
    visit : str
        Label of the visit; required if the entry does not state it.
    replace_because, before_infusion, patient_changed, stated
        As in `receive_visit`.

    Returns
    -------
    ReceivedVisit or ReceivedDummyRun
        All copies of the upload in quarantine are deleted then.

    Raises
    ------
    UploadRefusedError
        If the upload is refused again. It has a new entry then.
    UsageError
        If there is no such entry, it is settled, its upload is not kept as it was received, it is tried again by
        another process, or subject or visit is missing or differs from that of the refused upload. Also
        if a later dummy run was judged.
    """
    trial = Trial.existing(folder)
    with _only_retry(trial, name):
        return _retried(
            trial,
            _waiting(trial, name),
            subject=subject,
            visit=visit,
            replace_because=replace_because,
            before_infusion=before_infusion,
            patient_changed=patient_changed,
            stated=stated,
        )


@contextmanager
def _only_retry(trial: Trial, name: str) -> Iterator[None]:
    """Hold the lock of an upload, also if it has several entries. Copies of settled entries are removed at the end."""
    try:
        with only_user(trial.quarantine, _waiting(trial, name).sha256):
            yield
    except LockedError as error:
        raise UsageError(
            f"{name}: a retry of this upload is in progress ({error.holder})",
            hint="wait for its end, then list the entries: mri-pipeline quarantine list TRIAL",
        ) from error
    finally:
        remove_settled(trial.quarantine)


def _retried(
    trial: Trial, entry: QuarantineEntry, *, subject: str, visit: str, **statements: Any
) -> ReceivedVisit | ReceivedDummyRun:
    name, upload = entry.name, entry.upload
    if upload is None:
        raise UsageError(
            f"{name}: expected the upload in quarantine, found none (too large to keep, or settled)",
            hint="ask the site to send it again",
        )
    _audit_retry(trial, entry, subject=subject, visit=visit)
    try:
        if entry.kind == DUMMY_RUN:
            return receive_dummy_run(
                trial.root, upload, site=entry.site, received=entry.received, stated=statements["stated"],
                sha256=entry.sha256,
            )  # fmt: skip
        return receive_visit(
            trial.root, upload, site=entry.site, subject=subject, visit=entry.visit or visit, sha256=entry.sha256,
            **statements,
        )  # fmt: skip
    except UploadRefusedError:
        _settle_refused(trial, entry)
        raise


def release_upload(
    folder: Path,
    name: str,
    *,
    reason: str,
    by: str,
    subject: str = "",
    visit: str = "",
    replace_because: str = "",
    before_infusion: bool | None = None,
    patient_changed: str = "",
    stated: Mapping[Contrast, int] | None = None,
    clear_identity: Sequence[str] = (),
) -> ReceivedVisit | ReceivedDummyRun:
    """Accept a refused upload by a decision of the reading centre, and try it again.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    name : str
        Name of the entry.
    reason, by : str
        Why and by whom, without patient data; for the audit trail.
    subject, visit, replace_because, before_infusion, patient_changed, stated
        As in `retry_upload`.
    clear_identity : sequence of str
        Tags (``0018,1020``) or keywords whose values are no identities. The reason of the refusal must name each. They
        are cleared for the series that it names; ``4:0018,1020`` clears the tag for series 4 alone.

    Returns
    -------
    ReceivedVisit or ReceivedDummyRun

    Raises
    ------
    UsageError
        If the upload was refused for another reason than a limit of the protocol or an identity.
    UploadRefusedError
        If the upload is refused for another reason now. A decision never overrules safety, field strength, a missing
        FLAIR or missing slices.
    """
    trial = Trial.existing(folder)
    with _only_retry(trial, name):  # nobody discards the upload between the checks and the decision
        entry = _waiting(trial, name)
        cleared = [element for tag in clear_identity for element in _cleared(tag, entry)]
        _require_releasable(entry, cleared)
        _require_subject(trial, entry, subject=subject, visit=visit)
        with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
            registry.releases.enter(
                entry.sha256, site=entry.site, reason=reason, by=by, protocol=not cleared, cleared=cleared
            )
        return _retried(
            trial,
            entry,
            subject=subject,
            visit=visit,
            replace_because=replace_because,
            before_infusion=before_infusion,
            patient_changed=patient_changed,
            stated=stated,
        )


def discard_upload(folder: Path, name: str, *, reason: str, by: str) -> QuarantineEntry:
    """Discard a refused upload that waits in quarantine. Its copy is deleted after the decision is audited.

    If the process is killed in between, the next upload, retry, release or discard deletes it, and `serve` every 15
    minutes; the entry is shown as discarded. Entry and reason stay. Earlier releases of the upload no longer apply.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    name : str
        Name of the entry.
    reason, by : str
        Why and by whom, without patient data; for the audit trail.

    Returns
    -------
    QuarantineEntry
        Settled. It has an upload only if the copy cannot be deleted.

    Raises
    ------
    UsageError
        If there is no such entry, it is settled, its upload was accepted meanwhile, it is tried again by another
        process, or a text is empty.
    """
    trial = Trial.existing(folder)
    with (
        storage_faults(trial.protocol_file),
        _only_retry(trial, name),
        Registry.open(trial, load_protocol(trial.protocol_file)) as registry,
    ):
        settle_decided(trial, registry)
        entry = _waiting(trial, name)
        with settling(trial.quarantine):
            if registry.releases.discard(name, refusal_of(entry), site=entry.site, reason=reason, by=by):
                settle_entry(trial.quarantine, entry, outcome=DISCARDED, now=dt.datetime.now(tz=dt.UTC))
        settle_decided(trial, registry)
    done = quarantine_entry(trial.quarantine, name)
    if done.outcome != DISCARDED:
        raise _settled_already(done)
    return done


def _require_releasable(entry: QuarantineEntry, cleared: Sequence[str]) -> None:
    """Refuse to overrule another reason than a limit of the protocol. Cleared elements overrule an identity alone."""
    if cleared:
        return
    if entry.refused_as == IdentityError.__name__:
        raise UsageError(
            f"{entry.name}: expected --clear-identity TAG for an identity alarm, found none",
            hint="check the header; give each tag that the reason names and that holds no identity",
        )
    if entry.refused_as != ComplianceError.__name__ or entry.kind == DUMMY_RUN:
        raise UsageError(
            f"{entry.name}: expected a visit refused for a limit of the protocol, found a {entry.kind} refused as "
            f"{entry.refused_as}",
            hint="correct the cause, then: mri-pipeline quarantine retry TRIAL ENTRY",
        )


def entry_record(entry: QuarantineEntry) -> dict[str, Any]:
    """An entry as JSON values, without the path of its upload.

    Parameters
    ----------
    entry : QuarantineEntry

    Returns
    -------
    dict
    """
    record = asdict(entry)
    record["upload_kept"] = record.pop("upload") is not None
    return record


def _waiting(trial: Trial, name: str) -> QuarantineEntry:
    """An entry that is not settled. A process that was killed may have left one that was discarded."""
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        settle_decided(trial, registry, accepted=False)  # an accepted one is tried again: `stored already`
    entry = quarantine_entry(trial.quarantine, name)
    if entry.outcome:
        raise _settled_already(entry)
    return entry


def _settled_already(entry: QuarantineEntry) -> UsageError:
    return UsageError(f"{entry.name}: this entry is settled already ({entry.outcome})")


def _require_subject(trial: Trial, entry: QuarantineEntry, *, subject: str, visit: str) -> str:
    """The target of the audit entry: subject and visit, or the site."""
    if entry.kind == DUMMY_RUN:
        return entry.site
    label = entry.visit or visit
    if not subject or not label or visit not in ("", label):
        raise UsageError(
            f"{entry.name}: expected the subject and the visit of the refused upload, found none or another one",
            hint="give --subject, and --visit if the entry does not state it",
        )
    code = Sealed.open(trial).preview(entry.site, subject)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        known = {
            e.target.split()[0]
            for e in registry.audit_trail()
            if e.action == AuditAction.UPLOAD_REFUSED
            and e.details.get("upload") == entry.sha256
            and " " in e.target
        }
    if known and code not in known:
        raise UsageError(
            f"{entry.name}: expected the subject of the refused upload, found another one",
            hint="check the subject number; an upload for another subject is a new ingest",
        )
    return f"{code} {label}"


def _audit_retry(trial: Trial, entry: QuarantineEntry, *, subject: str, visit: str) -> None:
    target = _require_subject(trial, entry, subject=subject, visit=visit)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.audit(
            AuditAction.UPLOAD_TRIED_AGAIN, target=target, details={"upload": entry.sha256, "entry": entry.name}
        )


def _settle_refused(trial: Trial, entry: QuarantineEntry) -> None:
    """Delete the older of two copies if the upload has a new entry."""
    same = [other for other in quarantine_entries(trial.quarantine) if other.sha256 == entry.sha256]
    own = next(number for number, other in enumerate(same) if other.name == entry.name)
    later = [other for other in same[own + 1 :] if other.upload is not None]
    if later:
        outcome = f"{REFUSED_AGAIN}{later[-1].name}"
        with settling(trial.quarantine):
            settle_entry(trial.quarantine, entry, outcome=outcome, now=dt.datetime.now(tz=dt.UTC))


def _cleared(text: str, entry: QuarantineEntry) -> list[str]:
    """The elements of an identity alarm that a person names by tag, for all series of the alarm or for one."""
    series, _, tag = text.rpartition(":")
    keyword = tag if tag_for_keyword(tag) is not None else ""
    digits = tag.strip("()").replace(",", "")
    if not keyword and len(digits) == 8:
        try:
            keyword = keyword_for_tag(int(digits, 16))
        except ValueError:
            keyword = ""
    named = [element.rpartition("/") for element in entry.elements]
    found = [f"{number}/{name}" for number, _, name in named if name == keyword and series in ("", number)]
    if not keyword or not found:
        raise UsageError(
            "--clear-identity: expected a tag that the reason of the refusal names, found "
            f"{(series and f'series {series} with ') + keyword if keyword else 'no DICOM tag'}",
            hint="for example 0018,1020, or 4:0018,1020 for series 4 alone; the reason: mri-pipeline quarantine show "
            "TRIAL ENTRY",
        )
    return found
