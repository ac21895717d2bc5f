"""When the visits of a subject are due by the protocol."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mri_pipeline.core.protocol import Protocol


class Due(StrEnum):
    """Whether a visit without a scan is due."""

    LATER = "not due yet"
    NOW = "due"
    OVERDUE = "overdue"
    UNKNOWN = "not known"  # the first visit has no scan, or its scan has no date


@dataclass(frozen=True)
class Window:
    """The days of a visit.

    Parameters
    ----------
    first, last : datetime.date
    """

    first: dt.date
    last: dt.date

    def due(self, today: dt.date) -> Due:
        """Whether the visit is due.

        Parameters
        ----------
        today : datetime.date

        Returns
        -------
        Due

        Examples
        --------
        >>> window = Window(dt.date(2026, 3, 1), dt.date(2026, 3, 15))
        >>> window.due(dt.date(2026, 3, 15)).value, window.due(dt.date(2026, 3, 16)).value
        ('due', 'overdue')
        """
        if today < self.first:
            return Due.LATER
        return Due.NOW if today <= self.last else Due.OVERDUE


def planned_windows(protocol: Protocol, days: Mapping[str, int], shift_days: int) -> dict[str, Window]:
    """The window of every visit after the first, counted from the scan of the first visit.

    Parameters
    ----------
    protocol : Protocol
    days : mapping of str to int
        Shifted day of the scans by visit label, as proleptic ordinal.
    shift_days : int
        Per-subject date shift (`mri_pipeline.intake.deidentify.Blinding.shift`).

    Returns
    -------
    dict of str to Window
        By visit label. Empty if the day of the first visit is not known.

    Examples
    --------
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> day = dt.date(2026, 1, 5).toordinal()
    >>> planned_windows(parse_protocol(protocol_text()), {"wk00": day - 400}, -400)["wk04"].first
    datetime.date(2026, 1, 26)
    """
    first = protocol.visits[0]
    if first.label not in days:
        return {}
    begin = dt.date.fromordinal(days[first.label] - shift_days)
    windows = {}
    for visit in protocol.visits[1:]:
        planned = begin + dt.timedelta(weeks=visit.week - first.week)
        margin = dt.timedelta(days=visit.window_days)
        windows[visit.label] = Window(planned - margin, planned + margin)
    return windows
