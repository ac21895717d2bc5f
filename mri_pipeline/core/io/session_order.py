"""The order of the sessions of a BIDS subject in time."""

from __future__ import annotations

import csv
import datetime as dt
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError

_LOGGER = logging.getLogger(__name__)

_NUMBERED = re.compile(r"([A-Za-z]*)(\d+)([A-Za-z]*)")

OPTION, ACQ_TIME, LABELS, ONLY = "--session-order", "acq_time", "numbers in the session labels", "one session"
"""Where an order comes from."""


def order_sessions(
    folder: Path, subject: str, labels: Sequence[str], *, explicit: Sequence[str] = ()
) -> tuple[list[str], str]:
    """Put sessions in the order of time.

    The first source that orders all sessions decides: the explicit order; ``acq_time`` of ``*_sessions.tsv``, else of
    the sessions' ``*_scans.tsv``; the numbers in labels that differ in nothing else. Dates are compared and never
    returned, logged or written.

    Parameters
    ----------
    folder : Path
        The subject's folder in the dataset.
    subject : str
        Label without ``sub-``.
    labels : sequence of str
        The sessions that have scans.
    explicit : sequence of str, optional
        Labels in the order of time; it may name sessions that the subject does not have.

    Returns
    -------
    order : list of str
    source : str
        One of `OPTION`, `ACQ_TIME`, `LABELS` and `ONLY`.

    Raises
    ------
    UsageError
        If the explicit order lacks a session, or no source orders all sessions.

    Examples
    --------
    >>> order_sessions(Path("none"), "01", ["wk12", "wk04"])
    (['wk04', 'wk12'], 'numbers in the session labels')
    """
    if explicit:
        missing = sorted(set(labels) - set(explicit))
        if missing:
            raise UsageError(
                f"expected every session in --session-order, found none for {', '.join(missing)}",
                hint="name all sessions, in the order of time",
            )
        return [label for label in explicit if label in labels], OPTION
    if len(labels) < 2:
        return list(labels), ONLY
    times = _acquisition_times(folder, subject, labels)
    numbers = _numbers(labels)
    if times and len(set(times.values())) == len(labels):
        order = sorted(labels, key=times.__getitem__)
        if numbers and order != sorted(labels, key=numbers.__getitem__):
            _LOGGER.warning("sub-%s: acq_time contradicts the numbers in the session labels and is used", subject)
        return order, ACQ_TIME
    if numbers:
        return sorted(labels, key=numbers.__getitem__), LABELS
    raise UsageError(
        f"expected acq_time or numbers that order the sessions, found the labels {', '.join(sorted(labels))}",
        hint="give the labels in the order of time: --session-order FIRST,SECOND,…",
    )


def _numbers(labels: Sequence[str]) -> dict[str, int]:
    """The number in each label; empty unless the labels differ in their number alone."""
    matches = {label: _NUMBERED.fullmatch(label) for label in labels}
    parts = {label: match.groups() for label, match in matches.items() if match}
    numbers = {label: int(number) for label, (_, number, _) in parts.items()}
    alike = len({(before.lower(), after.lower()) for before, _, after in parts.values()}) == 1
    return numbers if len(parts) == len(labels) == len(set(numbers.values())) and alike else {}


def _acquisition_times(folder: Path, subject: str, labels: Sequence[str]) -> dict[str, dt.datetime]:
    """The acquisition time of every session; empty unless all are known."""
    sessions = _column(folder / f"sub-{subject}_sessions.tsv", "session_id")
    times = {}
    for label in labels:
        known = sessions.get(f"ses-{label}", []) or sessions.get(label, [])
        if not known:
            scans = _column(folder / f"ses-{label}" / f"sub-{subject}_ses-{label}_scans.tsv", "filename")
            known = [time for of_file in scans.values() for time in of_file]
        if known:
            times[label] = min(known)
    return times if len(times) == len(labels) else {}


def _column(path: Path, key: str) -> dict[str, list[dt.datetime]]:
    """The valid ``acq_time`` values of a BIDS table by its key column; empty without the table or the column."""
    found: dict[str, list[dt.datetime]] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            try:
                time = dt.datetime.fromisoformat(row.get("acq_time") or "")
            except ValueError:
                continue  # n/a, or not a time
            found.setdefault(row.get(key) or "", []).append(time.replace(tzinfo=None))
    return found
