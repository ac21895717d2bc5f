"""One writer per subject, and one step in which the files of a visit and the registry change together.

The scans of an upload are converted into ``staging/<code>_<visit>_<receipt>/``. The receipt is a random name. The
transaction of the registry that stores the receipt accepts the scan. `settle` then moves the earlier scan and its reads
to ``withdrawn/``, the new scan to ``rawdata/`` and its DICOM series to ``sourcedata/``. If the process ends in between,
the next command settles the folder: a staged scan whose receipt is in the registry is moved, another one is deleted.

The folder of a scan that is withdrawn without a replacement holds the file `WITHDRAWAL` alone.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from mri_pipeline.convert.bids import ensure_dataset, list_participants
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_folder, sync_tree
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import RawDataset, SourceDataset, Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.reading.store import visit_folder
from mri_pipeline.registry import Registry

_LOG = logging.getLogger(__name__)

WITHDRAWAL: Final = "withdrawal"
"""File of a staged visit whose scan is withdrawn. Its scan is moved as soon as the registry has no accepted one."""

WAIT_S: Final = 600.0
"""How long an upload waits for another one, or for the analysis, of the same subject."""


@dataclass(frozen=True)
class StagedVisit:
    """The folder of one visit that is being taken in.

    Parameters
    ----------
    folder : Path
        In `Trial.staging`.
    subject, visit : str
        Blinded code and visit label.
    receipt : str
        Random name of the ingest.
    """

    folder: Path
    subject: str
    visit: str
    receipt: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The staged visit of a folder.

        Parameters
        ----------
        folder : Path
            Its name is ``<code>_<visit>_<receipt>``; no part of it has a "_".

        Returns
        -------
        StagedVisit
        """
        return cls(folder, *folder.name.split("_"))

    @property
    def raw(self) -> RawDataset:
        """Dataset for the converted scans."""
        return RawDataset(self.folder / "rawdata")

    @property
    def series(self) -> Path:
        """Folder for the de-identified DICOM series."""
        return SourceDataset(self.folder / "sourcedata").visit(self.subject, self.visit)


@contextmanager
def only_writer(trial: Trial, subject: str, *, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a subject. Only its holder changes the subject's scans.

    Parameters
    ----------
    trial : Trial
    subject : str
        Blinded code.
    wait_s : float, optional
        Longest waiting time in seconds; `WAIT_S` if None.

    Yields
    ------
    None

    Raises
    ------
    UsageError
        If another process has it for all of that time.
    """
    with _waiting(trial.subject_lock(subject), f"subject {subject}", WAIT_S if wait_s is None else wait_s):
        yield


@contextmanager
def only_comparison(trial: Trial) -> Iterator[None]:
    """Hold the lock of the accepted scans: no other scan is accepted between comparison and entry of a scan.

    Parameters
    ----------
    trial : Trial

    Yields
    ------
    None

    Raises
    ------
    UsageError
        If another process has it for more than `WAIT_S`.
    """
    with _waiting(trial.staging / "accepted.lock", "accepted scans", WAIT_S):
        yield


@contextmanager
def _waiting(lock: Path, what: str, wait_s: float) -> Iterator[None]:
    try:
        with exclusive(lock, wait_s=wait_s):
            yield
    except LockedError as error:
        raise UsageError(
            f"{what}: an upload or analysis is in progress ({error.holder})",
            hint="wait for its end, then repeat the command",
        ) from error


@contextmanager
def staged_visit(
    trial: Trial, protocol: Protocol, registry: Registry, *, subject: str, visit: str
) -> Iterator[StagedVisit]:
    """A new private folder for the scans of a visit, settled at the end. The caller is the `only_writer`.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    subject, visit : str
        Blinded code and visit label.

    Yields
    ------
    StagedVisit

    Raises
    ------
    OSError
        If the folder cannot be created, or the scans cannot be moved to their place.
    """
    trial.staging.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = StagedVisit.of(trial.staging / f"{subject}_{visit}_{uuid4().hex}")
    staged.folder.mkdir(mode=0o700)
    try:
        yield staged
    except BaseException:
        try:
            settle(trial, protocol, registry, staged)
        except Exception:  # noqa: BLE001 - the first fault is reported; the next command settles the folder
            _LOG.warning("subject %s: a staged scan is left for the next command", subject)
        raise
    settle(trial, protocol, registry, staged)


def make_durable(staged: StagedVisit) -> None:
    """Flush the staged scans to disk. Call it before the registry accepts them.

    Parameters
    ----------
    staged : StagedVisit
    """
    sync_tree(staged.folder)
    sync_folder(staged.folder.parent)


def place_series(series: Path, place: Path) -> None:
    """Move the DICOM series of an accepted scan to their place in one step. The caller is the `only_writer`.

    Parameters
    ----------
    series : Path
        On the disk of the trial.
    place : Path
        Does not exist.
    """
    sync_tree(series)
    _move(series, place)


def settle(trial: Trial, protocol: Protocol, registry: Registry, staged: StagedVisit) -> None:
    """Move a staged visit to its place if the registry has accepted it, else delete it.

    It may be interrupted at any point and called again. The caller is the `only_writer`.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    staged : StagedVisit
    """
    if (staged.folder / WITHDRAWAL).exists():
        if not registry.upload(staged.subject, staged.visit):
            _keep_withdrawn(trial, staged)
            _keep_last_results(trial, registry, staged)
            _remove_empty(trial.rawdata.anat(staged.subject, staged.visit).parent)
            _remove_empty(trial.sourcedata.visit(staged.subject, staged.visit))
            list_participants(trial.rawdata)
    elif registry.receipt(staged.subject, staged.visit) == staged.receipt:
        new = staged.raw.anat(staged.subject, staged.visit)
        if new.is_dir():  # else it has been moved
            _keep_withdrawn(trial, staged)
            _move(new, trial.rawdata.anat(staged.subject, staged.visit))
        if staged.series.is_dir():  # after the scan: what lies in its place before is the earlier scan's
            _move(staged.series, trial.sourcedata.visit(staged.subject, staged.visit))
        ensure_dataset(trial.rawdata, name=protocol.name)
        list_participants(trial.rawdata)
    shutil.rmtree(staged.folder)


def _move(staged: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(place)
    sync_folder(place.parent)


def _keep_withdrawn(trial: Trial, staged: StagedVisit) -> None:
    """Move the earlier scan of the visit, its DICOM series and its reads to ``withdrawn/``."""
    subject, visit = staged.subject, staged.visit
    _keep(trial, staged, trial.sourcedata.visit(subject, visit), "source")
    _keep(trial, staged, visit_folder(trial.reads, subject, visit), "reads")
    _keep(trial, staged, trial.rawdata.anat(subject, visit), "anat")


def _keep_last_results(trial: Trial, registry: Registry, staged: StagedVisit) -> None:
    """Move the results of a subject to ``withdrawn/`` if it has no accepted scan: no later run makes them again."""
    subject = staged.subject
    if not any(registry.upload(subject, state.visit) for state in registry.subject(subject).visits):
        _keep(trial, staged, trial.derivatives.folder(subject), "derivatives")
        _keep(trial, staged, trial.reports / f"sub-{subject}.html", "report.html")


def _keep(trial: Trial, staged: StagedVisit, old: Path, name: str) -> None:
    """Move a file or folder to ``withdrawn/``, if it is there."""
    kept = trial.withdrawn / staged.subject / staged.visit / staged.receipt
    if old.exists():
        trial.withdrawn.mkdir(mode=0o700, exist_ok=True)
        kept.mkdir(parents=True, exist_ok=True)
        old.rename(kept / name)
        sync_folder(kept)


def _remove_empty(session: Path) -> None:
    """Remove the folder of a visit and that of its subject if they are empty."""
    for folder in (session, session.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def settle_subject(trial: Trial, protocol: Protocol, registry: Registry, subject: str) -> None:
    """Settle what an interrupted ingest of a subject has left. The caller is the `only_writer`.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    subject : str
        Blinded code.
    """
    for folder in sorted(trial.staging.glob(f"{subject}_*")):
        _LOG.warning("subject %s: an earlier ingest was interrupted; settling it", subject)
        settle(trial, protocol, registry, StagedVisit.of(folder))


def settle_all(trial: Trial, protocol: Protocol, registry: Registry) -> None:
    """Settle what interrupted ingests have left, except for subjects whose upload is in progress.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    """
    for subject in sorted({folder.name.partition("_")[0] for folder in trial.staging.glob("*_*")}):
        try:
            with exclusive(trial.subject_lock(subject), wait_s=0):
                settle_subject(trial, protocol, registry, subject)
        except LockedError:
            continue
