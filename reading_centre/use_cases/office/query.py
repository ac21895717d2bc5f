"""Queries to the sites: list, show, answer, close."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Query, Question, Registry, Use
from qc.findings import Finding

_TO_DO: Final = {
    "contrast_recognised": "state which sequence the series is",
    "sequence": "send the sequence, or state why it was not acquired",
    "whole_series": "send the whole series again, or state that slices were not acquired",
    "one_visit": "confirm that all series are of this patient and this visit",
    "copies_differ": "state which images are the original ones, and send them alone",
    "inverted": "send the series again, as the scanner wrote it",
    "lossy_compression": "send the series from the scanner, or from an archive without lossy compression",
    "contrast_timing": "state which T1 was acquired before and which after the contrast agent",
    "enhancement": "state whether and when the contrast agent was given; send the T1 after it",
    "patient_not_compared": "confirm that the patient is the same, or send one visit again in the way of the other",
    "patient_elsewhere": "check the subject's number and whose images these are",
    "before_infusion": "state with the same upload whether the scan came before the infusion",
    "withdrawn": "state why images that were withdrawn are sent again",
    "window": "state why the scan was outside of the window of the visit",
    "study_date": "state the date of the scan to the reading centre",
    "birth_date": "check the birth date in the scanner's patient data, and state which one is right",
    "order_of_days": "state the dates of the scans to the reading centre, and set the clock of the scanner",
    "blank_slices": "send the original series again, or state that the scanner has the same blank slices",
    "repeated_slices": "send the original series again, or state that the scanner has the same copied slices",
    "copied_scan": "send the original series of both scans",
    "scanner_gate": "send a dummy run of this scanner",
    "same_scanner": "state why another scanner was used, and use the earlier one for the next visit",
    "one_scanner": "state why a series is from another scanner or coil, and use one scanner for all series",
    "scanner_identity": "keep serial number and station name of the scanner in the headers",
    "same_software": "state when the software was changed",
}
"""What a site has to do, by the rule of the finding. Limits of ``trial.toml`` state it themselves."""


def questions(findings: Iterable[Finding]) -> tuple[Question, ...]:
    """The questions that findings on an upload put to the site.

    Parameters
    ----------
    findings : iterable of Finding

    Returns
    -------
    tuple of Question
    """
    return tuple(
        Question(
            message=finding.message,
            rule=finding.rule,
            contrast=finding.contrast.value if finding.contrast else "",
            measured=finding.measured,
            limit=finding.limit,
            unit=finding.unit,
            to_do=finding.to_do or _TO_DO[finding.rule],
        )
        for finding in findings
    )


def list_queries(folder: Path, *, state: str, site: str = "") -> list[Query]:
    """The queries of a trial.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    state : str
        A value of `QueryState`, or ``all``.
    site : str
        Code of the site; empty for all sites.

    Returns
    -------
    list of Query
        In the order of their numbers.

    Raises
    ------
    SettingsError
        If the protocol has no such site.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    if site:
        protocol.site(site)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        found = registry.site_queries.all()
    return [q for q in found if state in ("all", q.state.value) and site in ("", q.site)]


def show_query(folder: Path, number: int) -> Query:
    """One query.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    number : int

    Returns
    -------
    Query

    Raises
    ------
    UsageError
        If there is no query of that number.
    """
    with _opened(folder, Use.SHOW) as registry:
        return registry.site_queries.get(number)


def answer_query(folder: Path, number: int, *, text: str, by: str) -> Query:
    """Enter the answer of a site.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    number : int
    text, by : str
        The answer and who gave it, without patient data.

    Returns
    -------
    Query

    Raises
    ------
    UsageError
        If there is no such query, or it is closed.
    """
    with _opened(folder) as registry:
        return registry.site_queries.answer(number, text=text, by=by)


def close_query(folder: Path, number: int, *, reason: str, by: str) -> Query:
    """Close a query.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    number : int
    reason, by : str
        Why and by whom, without patient data.

    Returns
    -------
    Query

    Raises
    ------
    UsageError
        If there is no such query, or it is closed.
    """
    with _opened(folder) as registry:
        return registry.site_queries.close(number, reason=reason, by=by)


def query_record(query: Query) -> dict[str, Any]:
    """A query as JSON values, with the fields of its question at the top level.

    Parameters
    ----------
    query : Query

    Returns
    -------
    dict
    """
    record = asdict(query)
    question = record.pop("question")
    return record | {"reason" if name == "message" else name: value for name, value in question.items()}


def _opened(folder: Path, use: Use = Use.CHANGE) -> AbstractContextManager[Registry]:
    trial = Trial.existing(folder)
    return Registry.open(trial, load_protocol(trial.protocol_file), use)
