"""Status and reader of the masks that a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mri_pipeline.core.records import ReadStatus


@dataclass(frozen=True)
class ReadAttribution:
    """Status of the masks and numbers of a visit, and the reader who confirmed them.

    Parameters
    ----------
    status : ReadStatus
    reader : str
        Code of the reader whose read counts; empty for automatic masks.
    version : int
        Of that read.

    Examples
    --------
    >>> str(ReadAttribution()), str(ReadAttribution(ReadStatus.LOCKED, "R1", 2))
    ('automatic', 'locked by R1, version 2')
    """

    status: ReadStatus = ReadStatus.AUTOMATIC
    reader: str = ""
    version: int = 0

    def __str__(self) -> str:
        """For a page."""
        version = f", version {self.version}" if self.version > 1 else ""
        return f"{self.status.value} by {self.reader}{version}" if self.reader else self.status.value


AUTOMATIC = ReadAttribution()
"""Masks that no reader has confirmed."""


def common_status(all_visits: Iterable[ReadAttribution]) -> ReadStatus:
    """The status that all visits of a page have at least.

    Parameters
    ----------
    all_visits : iterable of ReadAttribution
        Of the visits with images or numbers.

    Returns
    -------
    ReadStatus
        *automatic* if one visit is automatic or there is none, *locked* if all are locked, else *confirmed*.

    Examples
    --------
    >>> locked = ReadAttribution(ReadStatus.LOCKED, "R1", 1)
    >>> adjudicated = ReadAttribution(ReadStatus.ADJUDICATED, "R3", 1)
    >>> common_status([locked, adjudicated]).value, common_status([locked, AUTOMATIC]).value
    ('confirmed', 'automatic')
    """
    found = {visit.status for visit in all_visits}
    if not found or ReadStatus.AUTOMATIC in found:
        return ReadStatus.AUTOMATIC
    return ReadStatus.LOCKED if found == {ReadStatus.LOCKED} else ReadStatus.CONFIRMED
