"""Common parts of the upload of a dummy run and of a visit: trial, registry, quarantine."""

from __future__ import annotations

import datetime as dt
import errno
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UploadRefusedError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.intake.quarantine import measure_upload, quarantine
from mri_pipeline.intake.quarantined import (
    QuarantineEntry,
    quarantine_entries,
    remove_settled,
    settle_entry,
    settling,
)
from mri_pipeline.registry import Registry, ScannerFacts, Use
from mri_pipeline.registry.acceptances import RefusedUpload
from qc.scan_profile import ScanProfile
from qc.scanner_identity import Scanner, is_another_scanner, is_entry_of
from reading_centre.use_cases.trial.private_folder import is_private, private_folder, sweep
from reading_centre.use_cases.trial.staging import settle_all
from reading_centre.use_cases.trial.storage import require_room, storage_faults
from reading_centre.use_cases.uploads.waiting import sweep_uploads

ACCEPTED = "accepted"
"""Begin of the outcome of a quarantine entry whose upload was accepted."""
DISCARDED = "discarded"
"""Outcome of a quarantine entry that the reading centre has discarded."""
_ROOM_FOR_TEMPORARY_FILES = 64_000_000
_NOTHING = {errno.ENOENT, errno.ENOTDIR}


@dataclass(frozen=True)
class UploadTask:
    """An upload, with trial, protocol, registry and sealed folder for its processing.

    Parameters
    ----------
    upload : Path
        Absolute, without links.
    trial : Trial
    protocol : Protocol
    registry : Registry
        Open until the end of `upload_task`.
    sealed : Sealed
    """

    upload: Path
    trial: Trial
    protocol: Protocol
    registry: Registry
    sealed: Sealed

    def measured(self, expected: str = "") -> str:
        """SHA-256 of the upload.

        Parameters
        ----------
        expected : str
            That of an upload in quarantine when it was received; empty for a new upload.

        Returns
        -------
        str

        Raises
        ------
        UsageError
            If it is another one than the expected one.
        """
        _, digest = measure_upload(self.upload)
        if expected not in ("", digest):
            raise UsageError(
                f"expected the upload in quarantine as it was received (SHA-256 {expected[:12]}), found other "
                f"content (SHA-256 {digest[:12]})",
                hint="ask the site to send it again",
            )
        return digest

    def scanner(self, site: str, profile: Scanner) -> ScannerFacts:
        """The scanner of a series as the registry knows it.

        Parameters
        ----------
        site : str
            Code of the site.
        profile : Scanner

        Returns
        -------
        ScannerFacts
            As entered, if the headers of the one entry only spell them in another way.
        """
        known = [facts for code, facts in self.registry.scanner_gates.scanners().values() if code == site]
        found = scanner_facts(profile, {facts.serial_digest for facts in known})
        entries = [] if found in known else [facts for facts in known if is_entry_of(facts, found)]
        return entries[0] if len(entries) == 1 else found

    def by_scanner(
        self, site: str, profile: ScanProfile | None, measures: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        """The scanner of the FLAIR, and the measures of the scans of each scanner, as arguments of the registry.

        Parameters
        ----------
        site : str
            Code of the site.
        profile : ScanProfile or None
        measures : mapping of str to mapping of str to float
            `qc.measure_record.measure_record`.

        Returns
        -------
        dict of str to object
            ``scanner``, ``measures`` of its scans and of those that may be from it, and ``measures_elsewhere`` by
            scanner.
        """
        elsewhere: dict[ScannerFacts, dict[str, Mapping[str, float]]] = {}
        others = {} if profile is None else {
            contrast.value: one for contrast, one in profile.others.items() if is_another_scanner(one, profile)
        }  # fmt: skip
        for name, one in others.items():
            if name in measures:
                elsewhere.setdefault(self.scanner(site, one), {})[name] = measures[name]
        moved = {name for found in elsewhere.values() for name in found}
        own = {name: found for name, found in measures.items() if name not in moved}
        scanner = None if profile is None else self.scanner(site, profile)
        return {"scanner": scanner, "measures": own, "measures_elsewhere": elsewhere}

    @contextmanager
    def refusals(self, upload: Path, *, digest: str, **context: str) -> Iterator[None]:
        """Context manager that copies the upload to quarantine and records the refusal if the block refuses it.

        Parameters
        ----------
        upload : Path
        digest : str
            SHA-256 of the upload.
        **context : str
            As in `refuse`.

        Yields
        ------
        None

        Raises
        ------
        UploadRefusedError
            That of the block.
        UsageError
            As `refuse`.
        """
        try:
            yield
        except UploadRefusedError as error:
            self.refuse(upload, error, digest=digest, **context)
            raise

    def refuse(self, upload: Path, error: UploadRefusedError, *, digest: str, **context: str) -> None:
        """Copy a refused upload to quarantine and record it.

        The blinded code is not stored with the identified data.

        Parameters
        ----------
        upload : Path
        error : UploadRefusedError
            The reason.
        digest : str
            SHA-256 of the upload.
        **context : str
            ``site`` and, if known, ``kind``, ``subject`` (blinded code) and ``visit``.

        Raises
        ------
        UsageError
            If there is no room for the copy. The refusal may then be a consequence of the full disk, and it is not
            recorded.
        """
        size, _ = measure_upload(upload)
        require_room(self.trial.root, size)
        require_room(Path(tempfile.gettempdir()), min(size, _ROOM_FOR_TEMPORARY_FILES))
        with private_folder(self.trial.work) as stage:
            quarantine(
                upload,
                self.trial.quarantine,
                stage=stage,
                reason=error,
                context={name: value for name, value in context.items() if name != "subject"},
                now=dt.datetime.now(tz=dt.UTC),
                max_bytes=self.protocol.max_upload_mb * 1_000_000,
            )
        known = {name: context[name] for name in ("subject", "visit") if name in context}
        self.registry.record_refusal(context["site"], reason=error.message, upload_digest=digest, **known)

    def settle_waiting(self, digest: str, *, kind: str, visit: str = "") -> None:
        """Settle the waiting quarantine entries of an upload that was accepted. Their copies are deleted.

        Parameters
        ----------
        digest : str
            SHA-256 of the upload.
        kind : str
            ``visit`` or ``dummy run``. An entry of the other kind stays.
        visit : str
            Label of the visit for which it was accepted.
        """
        settle_upload(self.trial, self.registry, digest, kind=kind, visit=visit)


def settle_upload(trial: Trial, registry: Registry, digest: str, *, kind: str, visit: str = "") -> None:
    """Settle the waiting quarantine entries of an upload that was accepted. Their copies are deleted.

    An entry that was discarded before stays so.

    Parameters
    ----------
    trial : Trial
    registry : Registry
    digest, kind, visit
        As in `UploadTask.settle_waiting`.
    """
    same = [
        entry for entry in quarantine_entries(trial.quarantine) if (entry.sha256, entry.kind) == (digest, kind)
    ]
    if any(not entry.outcome for entry in same):
        with settling(trial.quarantine):
            discarded = registry.releases.discarded()
            for entry in same:
                outcome = DISCARDED if entry.name in discarded else _accepted(entry, visit)
                settle_entry(trial.quarantine, entry, outcome=outcome, now=dt.datetime.now(tz=dt.UTC))
    remove_settled(trial.quarantine)


def decided_entries(trial: Trial, registry: Registry, *, accepted: bool = True) -> list[QuarantineEntry]:
    """All quarantine entries, oldest first, with their outcomes also if a killed process has not recorded them.

    Parameters
    ----------
    trial : Trial
    registry : Registry
    accepted : bool, optional
        False: only the outcome of a discard is taken from the registry.

    Returns
    -------
    list of QuarantineEntry
    """
    entries = quarantine_entries(trial.quarantine)
    waiting = [entry for entry in entries if not entry.outcome]
    if not waiting:
        return entries
    outcomes = dict.fromkeys(registry.releases.discarded(), DISCARDED)
    if accepted:
        rest = [entry for entry in waiting if entry.name not in outcomes]
        for entry, visit in zip(rest, registry.releases.accepted_as([*map(refusal_of, rest)]), strict=True):
            if visit is not None:
                outcomes[entry.name] = _accepted(entry, visit)
    return [entry if entry.outcome else replace(entry, outcome=outcomes.get(entry.name, "")) for entry in entries]


def settle_decided(trial: Trial, registry: Registry, *, accepted: bool = True) -> None:
    """Record the outcomes that killed processes have not recorded. Copies of settled entries are deleted.

    Parameters
    ----------
    trial, registry, accepted
        As in `decided_entries`.
    """
    waiting = {entry.name for entry in quarantine_entries(trial.quarantine) if not entry.outcome}
    decided = decided_entries(trial, registry, accepted=accepted) if waiting else ()
    for entry in decided:
        if entry.outcome and entry.name in waiting:
            with settling(trial.quarantine):
                settle_entry(trial.quarantine, entry, outcome=entry.outcome, now=dt.datetime.now(tz=dt.UTC))
    remove_settled(trial.quarantine)


def refusal_of(entry: QuarantineEntry) -> RefusedUpload:
    """Site, digest, kind and time of a refused upload.

    Parameters
    ----------
    entry : QuarantineEntry

    Returns
    -------
    RefusedUpload
    """
    return RefusedUpload(entry.site, entry.sha256, dummy_run=entry.kind == "dummy run", refused=entry.received)


def _accepted(entry: QuarantineEntry, visit: str) -> str:
    """Outcome of an entry whose upload was accepted for a visit, or as a dummy run."""
    return ACCEPTED if entry.visit in ("", visit) else f"{ACCEPTED} as {visit}"


def _located(upload: Path) -> Path:
    """The absolute path of an upload, without links."""
    try:
        return upload.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:
            found = "a link that leads to itself"
        else:
            found = "none at that path" if error.errno in _NOTHING else f"a path with a fault ({error.strerror})"
        raise UsageError(
            f"expected an upload (folder, zip or tar), found {found}", hint="check the path"
        ) from None


@contextmanager
def upload_task(folder: Path, site: str, upload: Path, *, settle: bool = True) -> Iterator[UploadTask]:
    """Open the trial for an upload of a site, and settle what interrupted uploads have left.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    site : str
        Code of the site.
    upload : Path
    settle : bool, optional
        False: nothing is changed; what interrupted uploads have left stays for the next command.

    Yields
    ------
    UploadTask

    Raises
    ------
    UsageError, SettingsError
        If the site is unknown, there is nothing at the path of the upload, its path has a circular symbolic link, or
        the upload contains the trial or is part of it. Also for a full disk and for an upload that vanishes
        (`storage_faults`).
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    protocol.site(site)
    upload = _located(upload)
    received = upload.is_relative_to(trial.quarantine) or is_private(upload, trial.work)
    inside = upload.is_relative_to(trial.root) and not received
    if inside or trial.root.is_relative_to(upload):
        where = "a path inside it" if inside else "a folder that contains it"
        raise UsageError(f"expected an upload outside of the trial folder, found {where}")
    with storage_faults(upload), Registry.open(trial, protocol, Use.CHANGE if settle else Use.SHOW) as registry:
        if settle:
            sweep(trial.work)
            sweep_uploads(trial, registry)
            settle_decided(trial, registry)
            settle_all(trial, protocol, registry)
        yield UploadTask(upload, trial, protocol, registry, Sealed.open(trial))


def scanner_facts(profile: Scanner, known: Collection[str] = ()) -> ScannerFacts:
    """Properties of a scanner that the registry stores.

    Parameters
    ----------
    profile : Scanner
    known : collection of str, optional
        Digests of the scanners of the site. Earlier versions entered a scanner under the digest of manufacturer, model,
        serial number and station name, placeholders included. It keeps this one.

    Returns
    -------
    ScannerFacts
        With the digest of the serial number, so that a renamed station is the same scanner. Without a serial number,
        and for a scanner of an earlier version, with that of all four.
    """
    earlier = [key for key in profile.scanner_keys if key in known]
    return ScannerFacts(
        manufacturer=profile.manufacturer,
        model=profile.model,
        software=profile.software,
        field_strength_t=profile.field_strength_t or 0.0,
        serial_digest=earlier[0] if earlier else profile.serial_key or profile.scanner_key,
        identified=profile.identified,
    )
