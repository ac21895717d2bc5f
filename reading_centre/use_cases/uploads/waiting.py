"""Uploads that a browser sends in parts: their private folders, in which they lie until they are judged.

A folder ``upload-<code>`` (mode 0700) in the trial's ``work/`` has the request of the person (``request.json``), the
bytes that were received (``upload``) and their number (``offset``). Neither bytes nor request are de-identified.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import sync_folder, write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.registry import Registry
from mri_pipeline.registry.job_records import Job, JobState
from reading_centre.use_cases.trial.private_folder import WAITING

_LOG = logging.getLogger(__name__)
STALE: Final = timedelta(hours=48)
"""An upload of which nothing came for this time is removed."""
_ORDERED: Final = timedelta(minutes=10)
"""A folder without job may be of a job that is entered in a moment."""
_DISCARDED: Final = {
    "reason": f"expected the whole upload, found that nothing came for {STALE // timedelta(hours=1)} hours",
    "next_step": "send it again",
}


class UploadRequestError(UsageError):
    """An upload that cannot begin."""


class OffsetError(UsageError):
    """A part that does not follow what was received."""


class ChecksumError(UsageError):
    """A part with other bytes than its checksum says."""


class BusyError(UsageError):
    """Another request writes to the upload."""


class WaitingUpload:
    """The private folder of an upload.

    Parameters
    ----------
    trial : Trial
    code : str
        Of its job.
    """

    def __init__(self, trial: Trial, code: str) -> None:
        self.code, self.folder = code, trial.work / f"{WAITING}{code}"
        self.data = self.folder / "upload"
        self._offset, self._request = self.folder / "offset", self.folder / "request.json"

    def create(self, request: Mapping[str, Any]) -> None:
        """Create the folder.

        Parameters
        ----------
        request : mapping
            JSON. It may have the trial number of the subject.
        """
        self.folder.parent.mkdir(exist_ok=True)
        self.folder.mkdir(mode=0o700)
        os.close(os.open(self.data, os.O_CREAT | os.O_WRONLY, 0o600))
        write_atomic(self._request, json.dumps(dict(request)), mode=0o600)
        write_atomic(self._offset, "0", mode=0o600)
        sync_folder(self.folder.parent)

    @property
    def request(self) -> dict[str, Any]:
        """The request of the person; empty if the folder is gone."""
        try:
            found = json.loads(self._request.read_bytes())
        except FileNotFoundError:
            return {}
        assert isinstance(found, dict)
        return found

    @property
    def received(self) -> int:
        """Number of bytes on the disk; 0 if the folder is gone."""
        try:
            return int(self._offset.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def append(self, offset: int, content: bytes, *, sha256: bytes, size: int) -> int:
        """Store the next part. It is on the disk afterwards.

        Parameters
        ----------
        offset : int
            Number of bytes before the part.
        content : bytes
        sha256 : bytes
            Digest of the part.
        size : int
            Of the whole upload.

        Returns
        -------
        int
            Number of bytes on the disk.

        Raises
        ------
        ChecksumError
            If the part has another digest.
        OffsetError
            If another part is expected, or the upload would be larger than `size`.
        BusyError
            If another request writes.
        """
        if hashlib.sha256(content).digest() != sha256:
            raise ChecksumError("the checksum of this part does not fit its bytes", hint="send it again")
        with self.held():
            if offset != self.received or offset + len(content) > size:
                raise OffsetError(
                    f"expected a part from byte {self.received} of {size}, found bytes {offset} to "
                    f"{offset + len(content)}",
                    hint="go on from there",
                )
            with self.data.open("r+b") as file:
                file.seek(offset)
                file.truncate()  # what a killed server has written and not confirmed
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            write_atomic(self._offset, str(offset + len(content)), mode=0o600)
        return offset + len(content)

    @contextmanager
    def held(self, *, wait_s: float = 0) -> Iterator[None]:
        """Hold the upload. Nobody else writes, judges or removes it meanwhile.

        Parameters
        ----------
        wait_s : float, optional
            Longest waiting time in seconds.

        Yields
        ------
        None

        Raises
        ------
        BusyError
            If another process or request holds it for all of that time.
        OffsetError
            If it is gone.
        """
        if not self.folder.is_dir():
            raise OffsetError("expected an upload that waits, found none", hint="send it again")
        try:
            with exclusive(self.folder / "owner.lock", wait_s=wait_s):
                yield
        except LockedError as error:
            raise BusyError("another request for this upload is in progress", hint="wait, then go on") from error

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            _LOG.warning("work/%s holds identified files and cannot be removed; remove it", self.folder.name)


def waiting_uploads(trial: Trial) -> list[WaitingUpload]:
    """The uploads that have a folder.

    Parameters
    ----------
    trial : Trial

    Returns
    -------
    list of WaitingUpload
    """
    return [WaitingUpload(trial, path.name.removeprefix(WAITING)) for path in trial.work.glob(f"{WAITING}*")]


def sweep_uploads(trial: Trial, registry: Registry) -> None:
    """Remove the folders of judged uploads, and end uploads of which nothing came for a long time (`STALE`).

    Parameters
    ----------
    trial : Trial
    registry : Registry
    """
    now = datetime.now(UTC)
    for upload in waiting_uploads(trial):
        try:
            with upload.held():
                job = registry.jobs.find(upload.code)
                if job is not None and job.state is JobState.RECEIVING and now - _changed(upload.folder) > STALE:
                    if not registry.jobs.end(job.code, JobState.DISCARDED, _DISCARDED, only=job.state, by=""):
                        continue
                elif _is_awaited(job, now - _changed(upload.folder)):
                    continue
                upload.remove()
        except (BusyError, OffsetError):
            continue
    for job in registry.jobs.not_ended():
        created = datetime.fromisoformat(job.created_at)
        gone = not WaitingUpload(trial, job.code).folder.is_dir()
        if job.state is JobState.RECEIVING and gone and now - created > STALE:
            registry.jobs.end(job.code, JobState.DISCARDED, _DISCARDED, only=job.state, by="")


def _is_awaited(job: Job | None, unchanged: timedelta) -> bool:
    if job is None:
        return unchanged < _ORDERED
    return not job.state.ended or job.is_unjudged


def _changed(folder: Path) -> datetime:
    times = (path.stat().st_mtime for path in folder.glob("[!.]*") if path.name != "owner.lock")
    latest = max(times, default=folder.stat().st_mtime)  # it is being created
    return datetime.fromtimestamp(latest, UTC)
