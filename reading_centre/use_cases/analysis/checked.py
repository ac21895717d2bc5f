"""Subjects that were checked and whose files have not changed since: neither a run nor the pages read them again.

A check compares every file of a subject with its digest. It is remembered with the state of the files: names, sizes,
inodes, and times of content and of status, as in the index of Git. The state also has software, rules, the subject in
the registry and the inputs of its locks, so that other code, another upload or another read is checked again. Files
that have changed in the last minutes are not remembered (`SETTLED_S`).

A write changes the times of a file. What changes none is not noticed: damage by a disk, a stepped clock, a file system
without status time, or for a minute another machine on a network file system. Therefore all files are read again after
`VALID_DAYS`, and `verify` always reads them.

The file of this module may be deleted, outdated or lost: then everything is checked again. It holds no numbers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.analysis.publication import PLATFORM, unfinished_folder
from mri_pipeline.core.derivative_layout import calibration_file, subject_report
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.file_states import file_state, folder_state
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.provenance import settings_digest, software
from mri_pipeline.registry import SubjectState
from qc.reports.index import INDEX_PAGE
from qc.reports.methods import BIBLIOGRAPHY, METHODS_PAGE, METHODS_TEXT

_LOGGER = logging.getLogger(__name__)

SETTLED_S: Final = 120.0
"""Age of the last change of a file from which on its state is remembered, in seconds.

A second change in the same tick of the clock has the same times. A change through a memory map may have those of the
first one until the kernel has written the page, after up to 35 s.
"""

VALID_DAYS: Final = 30
"""How long a check of the results is valid."""

_DAY_S: Final = 86_400


class _Results(BaseModel):
    """Results of a subject that are current.

    Attributes
    ----------
    state : str
        `Checked.state`.
    day : int
        Day of the check, from 1970-01-01 on.
    calibrated : bool
        True if detection rates were among the results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: str
    day: int
    calibrated: bool


class _Remembered(BaseModel):
    """What was checked: results and report of each subject by its code, and the pages over all subjects.

    Attributes
    ----------
    results : dict of str to _Results
    reports : dict of str to str
        `Checked.state`.
    pages : str
        State of all subjects and of the pages; empty if it is not known.
    methods : bool
        True if the methods text was written in that state, too.
    """

    model_config = ConfigDict(extra="forbid")

    results: dict[str, _Results] = {}
    reports: dict[str, str] = {}
    pages: str = ""
    methods: bool = False


class Checked:
    """What was checked of a trial.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    """

    def __init__(self, trial: Trial, protocol: Protocol) -> None:
        self._trial = trial
        self._file = trial.work / "checked.json"
        self._now_s = time.time()
        self._caches = [str(folder) for folder in trial.work.glob("v*") if folder.is_dir()]
        rules = protocol.lesions.model_dump_json()  # the digest of the settings leaves out what changes no number
        self._every = json.dumps([rules, settings_digest(protocol), software(), PLATFORM], sort_keys=True)
        try:
            self._known = _Remembered.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            self._known = _Remembered()
        self._changed = False

    def states(self, subjects: Iterable[SubjectState], locked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """The present `state` of each subject.

        Parameters
        ----------
        subjects : iterable of SubjectState
        locked : mapping of str to mapping
            `subject_jobs.locked_inputs`.

        Returns
        -------
        dict of str to str
            By blinded code.
        """
        return {subject.code: self.state(subject, locked.get(subject.code, {})) for subject in subjects}

    def state(self, subject: SubjectState, depends: Mapping[str, Any]) -> str:
        """The state of a subject: of its files, in the registry, and of what its locks keep.

        Take it before a check, and remember the check with it.

        Parameters
        ----------
        subject : SubjectState
        depends : mapping of str to object
            As in `reading_centre.use_cases.tables.counting.counted_masks`.

        Returns
        -------
        str
            A digest. Empty if it cannot be remembered: a file has just changed, or an analysis has left something.
        """
        code, trial = subject.code, self._trial
        lines = [self._every, repr(subject), json.dumps(dict(depends), sort_keys=True)]
        folders = (
            trial.rawdata.root / f"sub-{code}",
            trial.derivatives.folder(code),
            trial.kept_space(code).folder,
        )
        files = (subject_report(trial.reports, code), calibration_file(trial.reports, code))
        try:
            if unfinished_folder(trial.derivatives.root, code).exists() or self._has_cache(code):
                return ""
            newest = max(
                *(folder_state(path, lines) for path in folders), *(file_state(path, lines) for path in files)
            )
        except OSError:
            return ""
        if newest > (self._now_s - SETTLED_S) * 1e9:
            return ""
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def _has_cache(self, code: str) -> bool:
        for version in self._caches:
            with suppress(FileNotFoundError), os.scandir(f"{version}/sub-{code}") as entries:
                if any(entry.is_dir() for entry in entries):
                    return True
        return False

    def current(self, code: str, state: str, *, calibrate: bool) -> bool:
        """True if the results of a subject were current in the same state.

        Parameters
        ----------
        code : str
            Blinded code.
        state : str
            `state` now.
        calibrate : bool
            True: with detection rates.

        Returns
        -------
        bool
        """
        found = self._known.results.get(code)
        if found is None or not state or found.state != state:
            return False
        return 0 <= self._now_s // _DAY_S - found.day <= VALID_DAYS and (found.calibrated or not calibrate)

    def set_current(self, code: str, state: str, *, calibrate: bool) -> None:
        """Remember that the results of a subject are current.

        Parameters
        ----------
        code, state, calibrate
            As in `current`; the state before the check.
        """
        if state:
            day = int(self._now_s // _DAY_S)
            self._known.results[code] = _Results(state=state, day=day, calibrated=calibrate)
            self._changed = True

    def report_current(self, code: str, state: str) -> bool:
        """True if the report of a subject was current in the same state.

        Parameters
        ----------
        code : str
            Blinded code.
        state : str
            `state` now.

        Returns
        -------
        bool
        """
        return bool(state) and self._known.reports.get(code) == state

    def set_report_current(self, code: str, state: str) -> None:
        """Remember that the report of a subject is current.

        Parameters
        ----------
        code, state : str
            As in `report_current`; the state before the check.
        """
        if state and self._known.reports.get(code) != state:
            self._known.reports[code] = state
            self._changed = True

    def reports_current(self, states: Mapping[str, str], *, methods: bool) -> bool:
        """True if all reports, and the pages over all subjects, were current in the same state.

        Parameters
        ----------
        states : mapping of str to str
            `state` of every subject now.
        methods : bool
            True: the methods text, too.

        Returns
        -------
        bool
        """
        reports = all(self.report_current(code, state) for code, state in states.items())
        return reports and self.pages_current(states, methods=methods)

    def pages_current(self, states: Mapping[str, str], *, methods: bool) -> bool:
        """True if the pages over all subjects were written in the same state of all subjects.

        Parameters
        ----------
        states : mapping of str to str
            `state` of every subject now.
        methods : bool
            True: the methods text, too.

        Returns
        -------
        bool
        """
        found = self._pages(states)
        return bool(found) and self._known.pages == found and (self._known.methods or not methods)

    def set_pages_current(self, states: Mapping[str, str], *, methods: bool) -> None:
        """Remember that the pages over all subjects were written.

        Parameters
        ----------
        states : mapping of str to str
            `state` of every subject before.
        methods : bool
            True: the methods text, too.
        """
        if found := self._pages(states):
            self._known.pages, self._known.methods = found, methods
            self._changed = True

    def _pages(self, states: Mapping[str, str]) -> str:
        if not all(states.values()) or not (self._trial.reports / INDEX_PAGE).is_file():
            return ""
        lines = [self._every, json.dumps(dict(states))]
        try:
            for name in (INDEX_PAGE, METHODS_PAGE, METHODS_TEXT, BIBLIOGRAPHY):
                file_state(self._trial.reports / name, lines)
        except OSError:
            return ""
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def save(self) -> None:
        """Write what was checked, if there is something new. If that fails, the next command checks again."""
        if not self._changed:
            return
        try:
            write_atomic(self._file, self._known.model_dump_json())
        except OSError as error:
            _LOGGER.warning("what was checked could not be remembered: %s", error.strerror)
