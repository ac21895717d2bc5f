"""The visits of a subject that have a row in tables and a section in reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import week_of


@dataclass(frozen=True)
class PlannedVisit:
    """A visit with or without a scan.

    Parameters
    ----------
    label : str
        Visit label, such as ``wk04``.
    week : int or None
        Planned week. None if the label of a dataset without a protocol does not contain one.
    """

    label: str
    week: int | None


def planned_visits(protocol: Protocol) -> tuple[PlannedVisit, ...]:
    """The visits of a trial, in the order of its protocol.

    Parameters
    ----------
    protocol : Protocol

    Returns
    -------
    tuple of PlannedVisit

    Examples
    --------
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> planned_visits(parse_protocol(protocol_text()))[0]
    PlannedVisit(label='wk00', week=0)
    """
    return tuple(PlannedVisit(visit.label, visit.week) for visit in protocol.visits)


def found_visits(labels: Iterable[str]) -> tuple[PlannedVisit, ...]:
    """The sessions of a dataset without a protocol.

    Parameters
    ----------
    labels : iterable of str
        Labels of the sessions, without ``ses-``, in the order of time.

    Returns
    -------
    tuple of PlannedVisit
        In the same order.

    Examples
    --------
    >>> [visit.week for visit in found_visits(["2", "wk04", "wk12"])]
    [None, 4, 12]
    """
    return tuple(PlannedVisit(label, week_of(label)) for label in labels)
