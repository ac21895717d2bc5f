"""Common parts of the upload of a dummy run and of a visit: trial, quarantine, private folder."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UploadRefusedError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.intake.quarantine import quarantine
from mri_pipeline.registry import Registry, ScannerFacts
from qc.scan_profile import ScanProfile


@dataclass(frozen=True)
class UploadDesk:
    """Trial, protocol, registry and sealed folder for the processing of an upload.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
        Open until the end of `upload_desk`.
    sealed : Sealed
    """

    trial: Trial
    protocol: Protocol
    registry: Registry
    sealed: Sealed

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
        """
        quarantine(
            upload,
            self.trial.quarantine,
            reason=error,
            context={name: value for name, value in context.items() if name != "subject"},
            now=dt.datetime.now(tz=dt.UTC),
            max_bytes=self.protocol.max_upload_mb * 1_000_000,
        )
        known = {name: context[name] for name in ("subject", "visit") if name in context}
        self.registry.record_refusal(context["site"], reason=error.message, upload_digest=digest, **known)


@contextmanager
def upload_desk(folder: Path, site: str, upload: Path) -> Iterator[UploadDesk]:
    """Open the trial for an upload of a site.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    site : str
        Code of the site.
    upload : Path
        Absolute path.

    Yields
    ------
    UploadDesk

    Raises
    ------
    UsageError, SettingsError
        If the site is unknown, the path does not exist, or the upload contains the trial or is part of it.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    protocol.site(site)
    if not upload.exists():
        raise UsageError("expected an upload (folder, zip or tar), found none at that path", hint="check the path")
    inside = upload.is_relative_to(trial.root) and not upload.is_relative_to(trial.quarantine)
    if inside or trial.root.is_relative_to(upload):
        raise UsageError("expected an upload outside of the trial folder, found one inside or around it")
    with Registry.open(trial, protocol) as registry:
        yield UploadDesk(trial, protocol, registry, Sealed.open(trial))


@contextmanager
def unpacking(trial: Trial) -> Iterator[Path]:
    """Private folder for files that are not de-identified; always removed afterwards.

    Parameters
    ----------
    trial : Trial

    Yields
    ------
    Path
        Folder to unpack into; it does not exist yet.
    """
    trial.work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="intake-", dir=trial.work))
    try:
        yield folder / "upload"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scanner_facts(profile: ScanProfile | None) -> ScannerFacts | None:
    """Properties of a scanner that the registry stores.

    Parameters
    ----------
    profile : ScanProfile or None

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
    )
