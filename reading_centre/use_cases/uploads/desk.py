"""Common parts of the upload of a dummy run and of a visit: trial, registry, quarantine."""

from __future__ import annotations

import datetime as dt
import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UploadRefusedError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.intake.quarantine import measure_upload, quarantine
from mri_pipeline.intake.quarantined import quarantine_entries, remove_settled, settle_entry
from mri_pipeline.registry import Registry, ScannerFacts, Use
from qc.scan_profile import Scanner
from reading_centre.use_cases.trial.private_folder import is_private, private_folder, sweep
from reading_centre.use_cases.trial.staging import settle_all
from reading_centre.use_cases.trial.storage import require_room, storage_faults
from reading_centre.use_cases.uploads.waiting import sweep_uploads

ACCEPTED = "accepted"
"""Begin of the outcome of a quarantine entry whose upload was accepted."""
_ROOM_FOR_TEMPORARY_FILES = 64_000_000
_NOTHING = {errno.ENOENT, errno.ENOTDIR}


@dataclass(frozen=True)
class UploadDesk:
    """An upload, with trial, protocol, registry and sealed folder for its processing.

    Parameters
    ----------
    upload : Path
        Absolute, without links.
    trial : Trial
    protocol : Protocol
    registry : Registry
        Open until the end of `upload_desk`.
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

    @contextmanager
    def refusals(self, upload: Path, *, digest: str, **context: str) -> Iterator[None]:
        """Keep and record the upload if the block refuses it (`refuse`).

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
        settle_upload(self.trial, digest, kind=kind, visit=visit)


def settle_upload(trial: Trial, digest: str, *, kind: str, visit: str = "") -> None:
    """Settle the waiting quarantine entries of an upload that was accepted. Their copies are deleted.

    Parameters
    ----------
    trial : Trial
    digest, kind, visit
        As in `UploadDesk.settle_waiting`.
    """
    now = dt.datetime.now(tz=dt.UTC)
    for entry in quarantine_entries(trial.quarantine):
        if entry.sha256 == digest and entry.kind == kind and not entry.outcome:
            outcome = ACCEPTED if entry.visit in ("", visit) else f"{ACCEPTED} as {visit}"
            settle_entry(trial.quarantine, entry, outcome=outcome, now=now)
    remove_settled(trial.quarantine)


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
def upload_desk(folder: Path, site: str, upload: Path, *, settle: bool = True) -> Iterator[UploadDesk]:
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
    UploadDesk

    Raises
    ------
    UsageError, SettingsError
        If the site is unknown, there is nothing at the path of the upload, a link of it leads to itself, or the upload
        contains the trial or is part of it. Also for a full disk and for an upload that vanishes (`storage_faults`).
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
            remove_settled(trial.quarantine)
            settle_all(trial, protocol, registry)
        yield UploadDesk(upload, trial, protocol, registry, Sealed.open(trial))


def scanner_facts(profile: Scanner | None) -> ScannerFacts | None:
    """Properties of a scanner that the registry stores.

    Parameters
    ----------
    profile : Scanner or None

    Returns
    -------
    ScannerFacts or None
        None without a profile.
    """
    if profile is None:
        return None
    return ScannerFacts(
        manufacturer=profile.manufacturer,
        model=profile.model,
        software=profile.software,
        field_strength_t=profile.field_strength_t or 0.0,
        serial_digest=profile.scanner_key,
        identified=profile.identified,
    )
