"""Subjects that were checked and whose files have not changed since: neither a run nor the pages read them again.

A check compares every file of a subject with its digest. It is remembered with the state of the files: names, sizes,
inodes, and times of content and of status, as in the index of Git. A program that writes a file changes its status time
and cannot set it back. The state also has software, settings, the subject in the registry and the inputs of its locks,
so that other code, another upload or another read is checked again. Files that have just changed are not remembered: a
second change in the same tick of the clock would have the same times.

The file of this module may be deleted, outdated or lost: then everything is checked again. It holds no numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mri_pipeline.analysis.publication import PLATFORM, unfinished_folder
from mri_pipeline.core.derivative_layout import calibration_file, subject_report
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.provenance import settings_digest, software
from mri_pipeline.registry import Registry, SubjectState
from qc.reports.index import INDEX_PAGE
from qc.reports.methods import BIBLIOGRAPHY, METHODS_PAGE, METHODS_TEXT

SETTLED_S: Final = 10.0
"""Age of the last change of a file from which on its state is remembered, in seconds."""


def locked_inputs(registry: Registry) -> dict[str, dict[str, dict[str, Any]]]:
    """What the counts of each locked visit depend on.

    Parameters
    ----------
    registry : Registry

    Returns
    -------
    dict of str to dict
        `RegistryQueries.locked_inputs` by subject and visit.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (subject, visit), inputs in registry.locked_inputs().items():
        found.setdefault(subject, {})[visit] = inputs
    return found


class _Results(BaseModel):
    """Results of a subject that are current.

    Attributes
    ----------
    state : str
        `Checked.state`, and whether detection rates were among the results.
    qc_flags : list of str
        As in `workflows.outcome.Outcome`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: str
    qc_flags: list[str]


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
        self._now_ns = time.time_ns()
        self._caches = [str(folder) for folder in trial.work.glob("v*") if folder.is_dir()]
        settings = protocol.model_dump_json(include={"name", "visits", "lesions"})
        every = [str(trial.root), settings, settings_digest(protocol), software(), PLATFORM]
        self._every = json.dumps(every, sort_keys=True)
        try:
            self._known = _Remembered.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            self._known = _Remembered()
        self._changed = False

    def states(self, registry: Registry, subjects: Iterable[SubjectState]) -> dict[str, str]:
        """The present `state` of each subject.

        Parameters
        ----------
        registry : Registry
        subjects : iterable of SubjectState

        Returns
        -------
        dict of str to str
            By blinded code.
        """
        locked = locked_inputs(registry)
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
            newest = max(*(_folder(str(path), lines) for path in folders), *(_file(path, lines) for path in files))
        except OSError:
            return ""
        if newest > self._now_ns - SETTLED_S * 1e9:
            return ""
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def _has_cache(self, code: str) -> bool:
        for version in self._caches:
            with suppress(FileNotFoundError), os.scandir(f"{version}/sub-{code}") as entries:
                if any(entry.is_dir() for entry in entries):
                    return True
        return False

    def current(self, code: str, state: str, *, calibrate: bool) -> list[str] | None:
        """The QC flags of a subject whose results were current in the same state.

        Parameters
        ----------
        code : str
            Blinded code.
        state : str
            `state` now.
        calibrate : bool
            True: detection rates are among the results.

        Returns
        -------
        list of str or None
            None if they have to be checked.
        """
        found = self._known.results.get(code)
        return found.qc_flags if found and state and found.state == _with(state, calibrate=calibrate) else None

    def set_current(self, code: str, state: str, qc_flags: Iterable[str], *, calibrate: bool) -> None:
        """Remember that the results of a subject are current.

        Parameters
        ----------
        code, state, calibrate
            As in `current`; the state before the check.
        qc_flags : iterable of str
            As in `workflows.outcome.Outcome`.
        """
        if state:
            self._known.results[code] = _Results(state=_with(state, calibrate=calibrate), qc_flags=list(qc_flags))
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
                _file(self._trial.reports / name, lines)
        except OSError:
            return ""
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def save(self) -> None:
        """Write what was checked, if there is something new. A disk that cannot be written loses it."""
        if self._changed:
            with suppress(OSError):
                write_atomic(self._file, self._known.model_dump_json())


def _with(state: str, *, calibrate: bool) -> str:
    return f"{state} calibrated" if calibrate else state


def _file(path: Path, lines: list[str]) -> int:
    """Add the state of a file to `lines`; returns the time of its last change in ns, 0 for a missing file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        lines.append(f"{path} missing")
        return 0
    lines.append(f"{path} {_numbers(found)}")
    return found.st_ctime_ns


def _folder(path: str, lines: list[str]) -> int:
    """Add the state of all files below a folder to `lines`; returns the time of the last change in ns.

    Raises
    ------
    OSError
        If a folder cannot be read, or is a link.
    """
    try:
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        lines.append(f"{path} missing")
        return 0
    newest = 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            newest = max(newest, _folder(entry.path, lines))
            continue
        if entry.is_dir():
            raise NotADirectoryError(entry.path)  # what is in it may change without a trace here
        state = entry.stat()
        lines.append(f"{entry.path} {_numbers(state)}")
        newest = max(newest, state.st_ctime_ns)
    return newest


def _numbers(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"
