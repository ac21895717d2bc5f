"""Studies that arrive by DICOM C-STORE: gathered in a private folder until they are quiet. Knows no network.

An object is received completely or not at all. A study is whole if all associations that sent it were released and
every object could be stored. A later association that sends all objects of a broken one again makes it whole. A study
is `due` if nothing came for some time, which is longer for one that is not whole or not complete: the rest
may still come.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydicom import dcmread
from pydicom.dataset import Dataset

from mri_pipeline.core.errors import UnreadableUploadError, UnsafeUploadError
from mri_pipeline.core.io.atomic import write_atomic

_TAGS: Final = [
    "SOPInstanceUID", "StudyInstanceUID", "StudyDescription", "PatientID",
    "ClinicalTrialSubjectID", "ClinicalTrialTimePointID",
]  # fmt: skip


@dataclass(eq=False)
class Study:
    """The objects of one study of one site.

    Parameters
    ----------
    site : str
        Code of the site.
    folder : Path
        Private folder of its objects.
    subjects, patients : set of str
        ClinicalTrialSubjectID and PatientID of its objects. They identify the patient.
    visits, descriptions : set of str
        ClinicalTrialTimePointID and StudyDescription of its objects.
    size : int
        In bytes.
    changed_s : float
        Time of the last change, by `time.monotonic`.
    senders : set
        Open associations that sent objects of it.
    lost : list of set of str
        For each association that broke off: names of the objects that must be sent again.
    complete : bool
        True if nothing seems to be missing.
    checked_s : float or None
        `changed_s` of the state for which `complete` is known.
    """

    site: str
    folder: Path
    subjects: set[str] = field(default_factory=set)
    patients: set[str] = field(default_factory=set)
    visits: set[str] = field(default_factory=set)
    descriptions: set[str] = field(default_factory=set)
    size: int = 0
    changed_s: float = 0.0
    senders: set[Hashable] = field(default_factory=set)
    lost: list[set[str]] = field(default_factory=list)
    complete: bool = True
    checked_s: float | None = None

    @property
    def whole(self) -> bool:
        """True if every association that sent objects of it was released, or its objects were sent again."""
        return not self.lost and not self.senders

    def quiet(self, seconds: float) -> bool:
        """True if no object arrived for some time.

        Parameters
        ----------
        seconds : float

        Returns
        -------
        bool
        """
        return time.monotonic() - self.changed_s >= seconds

    @property
    def objects(self) -> int:
        """Number of its objects."""
        return sum(1 for _ in self.folder.iterdir())

    def discard(self) -> None:
        """Delete its objects, which are not de-identified."""
        shutil.rmtree(self.folder, ignore_errors=True)


IsComplete = Callable[[Study], bool]
"""Whether nothing of a study seems to be missing."""


@dataclass
class _Association:
    """What one association has sent: object names by study."""

    sent: dict[Study, set[str]] = field(default_factory=dict)
    failed: bool = False


class Incoming:
    """Gathers studies. All methods may be called from several threads.

    Parameters
    ----------
    folder : Path
        Private folder (`private_folder`).
    max_bytes : int
        Largest study.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._studies: dict[tuple[str, str], Study] = {}
        self._associations: dict[Hashable, _Association] = {}

    def store(self, association: Hashable, site: str, content: bytes) -> None:
        """Store one object.

        Parameters
        ----------
        association : hashable
            Identifies the association.
        site : str
            Code of the site that sends it.
        content : bytes
            DICOM file.

        Raises
        ------
        UnreadableUploadError
            If it cannot be read or names no study.
        UnsafeUploadError
            If the study is too large.
        OSError
            If it cannot be written.
        """
        with self._lock:
            state = self._associations.setdefault(association, _Association())
            try:
                header = _header(content)
                study = self._study(site, str(header.StudyInstanceUID))
                study.senders.add(association)
                names = state.sent.setdefault(study, set())
                study.changed_s = time.monotonic()
                name = hashlib.sha256(str(header.SOPInstanceUID).encode()).hexdigest()[:32]
                path = study.folder / f"{name}.dcm"
                more = len(content) - (path.stat().st_size if path.exists() else 0)  # it may be sent again
                self._require_room(study, more)
                write_atomic(path, content, mode=0o600)
            except BaseException:
                state.failed = True
                raise
            names.add(name)
            study.size += more
            for values, keyword in (
                (study.subjects, "ClinicalTrialSubjectID"),
                (study.patients, "PatientID"),
                (study.visits, "ClinicalTrialTimePointID"),
                (study.descriptions, "StudyDescription"),
            ):
                value = str(header.get(keyword) or "").strip()
                if value:
                    values.add(value)

    def end(self, association: Hashable, *, released: bool) -> list[tuple[Study, int]]:
        """Note the end of an association. Further calls for it have no effect.

        Parameters
        ----------
        association : hashable
        released : bool
            False if it was aborted or the connection was lost.

        Returns
        -------
        list of (Study, int)
            The studies that it sent, each with the number of its objects.
        """
        with self._lock:
            state = self._associations.pop(association, None)
            if state is None:
                return []
            for study, names in state.sent.items():
                study.senders.discard(association)
                study.changed_s = time.monotonic()
                if released and not state.failed:
                    study.lost = [lost for lost in study.lost if not lost <= names]
                else:
                    study.lost.append(names)
            return [(study, len(names)) for study, names in state.sent.items()]

    def due(self, *, quiet_s: float, broken_s: float, is_complete: IsComplete | None = None) -> list[Study]:
        """Take the studies that are to be processed. Objects that come later begin a new study.

        Parameters
        ----------
        quiet_s : float
            Nothing came for this time, in seconds.
        broken_s : float
            The same for a study that is not whole or not complete.
        is_complete : callable, optional
            Called once for each state of a whole study, while objects may arrive. A study that changes meanwhile stays.
            None: all studies are complete.

        Returns
        -------
        list of Study
            The caller discards them.
        """
        with self._lock:
            states = [(key, study, study.changed_s, study.whole) for key, study in self._studies.items()]
        taken = []
        for key, study, changed_s, whole in states:
            if not study.quiet(quiet_s if whole else broken_s):
                continue
            if is_complete is not None and whole and study.checked_s != changed_s:
                study.complete, study.checked_s = is_complete(study), changed_s
            with self._lock:
                ready = not whole or study.complete or study.quiet(broken_s)
                if ready and study.changed_s == changed_s:
                    taken.append(self._studies.pop(key))
        return taken

    def _require_room(self, study: Study, more: int) -> None:
        if study.size + more > self._max_bytes:
            raise UnsafeUploadError(
                f"expected a study of at most {self._max_bytes // 1_000_000} MB, found a larger one",
                hint="send only the series of the protocol, or raise max_upload_mb in trial.toml",
            )

    def _study(self, site: str, uid: str) -> Study:
        study = self._studies.get((site, uid))
        if study is None:
            study = Study(site, self._folder / uuid4().hex)
            study.folder.mkdir(mode=0o700)
            self._studies[site, uid] = study
        return study


def _header(content: bytes) -> Dataset:
    try:
        header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=_TAGS)
        known = bool(header.StudyInstanceUID) and bool(header.SOPInstanceUID)
    except Exception:  # noqa: BLE001 - pydicom raises errors of many kinds on damaged objects
        known = False
    if not known:
        raise UnreadableUploadError(
            "expected a DICOM object with the UIDs of its study and of itself, found none that can be read",
            hint="send it again",
        )
    return header
