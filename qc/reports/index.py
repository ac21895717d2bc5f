"""The index page over all subjects: state, lesion counts, QC flags and a link to each subject's report.

It shows blinded codes or BIDS labels, as the subjects' reports do, and no other personal data. It loads no external
resource.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.records import VisitCounts
from qc.reports.methods import METHODS_PAGE
from qc.reports.page import render
from qc.reports.read_attribution import AUTOMATIC, ReadAttribution, common_status

INDEX_PAGE = "index.html"

_COLUMNS = {
    "t2_count": "T2",
    "t2_volume_ml": "T2 mL",
    "new_t2_count": "new T2",
    "enlarging_t2_count": "enlarging T2",
    "gel_count": "GEL",
    "gel_new_count": "new GEL",
    "bh_count": "BH",
}


class AnalysisState(StrEnum):
    """How far the analysis of a subject has come."""

    DONE = "done"
    PARTLY = "partly done"
    FAILED = "failed"
    NOT_ANALYSED = "not analysed"
    NO_SCAN = "no usable scan"


@dataclass(frozen=True)
class VisitEntry:
    """One visit on the page.

    Parameters
    ----------
    visit : str
    scan : str
        State of its scan: ``analysed``, ``failed``, ``refused``, ``missing`` or ``received``.
    counts : VisitCounts or None
        None unless it is analysed.
    attribution : ReadAttribution
        Status of its numbers, and the reader who confirmed them.
    """

    visit: str
    scan: str
    counts: VisitCounts | None = None
    attribution: ReadAttribution = AUTOMATIC

    @property
    def cells(self) -> list[str]:
        """Counts as text. Unknown values are empty."""
        values = {name: getattr(self.counts, name, None) for name in _COLUMNS}
        return ["" if v is None else f"{v:.2f}" if name.endswith("_ml") else str(v) for name, v in values.items()]


@dataclass(frozen=True)
class SubjectEntry:
    """One subject on the page.

    Parameters
    ----------
    subject : str
        Blinded code or BIDS label, without ``sub-``.
    state : AnalysisState
    visits : tuple of VisitEntry
        In the order of time.
    reason : str
        Why the analysis failed or has no usable result.
    qc_flags : tuple of str
        Reasons for visual QC, each preceded by the label of its visit.
    report : str
        File name of the subject's report in the folder of the page. Empty if there is none.
    order_source : str
        Where the order of the visits comes from. Empty in a trial, where it is the order of the protocol.
    ignored : tuple of str
        Anatomical files that are not used, each with the reason.
    """

    subject: str
    state: AnalysisState
    visits: tuple[VisitEntry, ...]
    reason: str = ""
    qc_flags: tuple[str, ...] = ()
    report: str = ""
    order_source: str = ""
    ignored: tuple[str, ...] = ()


def write_index(
    reports: Path, subjects: Sequence[SubjectEntry], *, settings_digest: str, software: Mapping[str, str]
) -> Path:
    """Write ``index.html`` into the reports folder.

    Parameters
    ----------
    reports : Path
        The page links to the methods text if that is there.
    subjects : sequence of SubjectEntry
        In the order of the page. An empty sequence gives a page without a table.
    settings_digest : str
        `provenance.settings_digest` of the settings that made the numbers.
    software : mapping of str to str
        `provenance.software`.

    Returns
    -------
    Path
        The page. Equal input gives equal bytes.
    """
    states = Counter(subject.state for subject in subjects)
    status = common_status(visit.attribution for subject in subjects for visit in subject.visits if visit.counts)
    html = render(
        "index.html.j2",
        subjects=subjects,
        columns=list(_COLUMNS.values()),
        states={state.value: states[state] for state in AnalysisState if states[state]},
        status=status.value,
        reads=any(visit.attribution.reader for subject in subjects for visit in subject.visits),
        flagged=[subject for subject in subjects if subject.qc_flags],
        settings_digest=settings_digest,
        software=software,
        methods=METHODS_PAGE if (reports / METHODS_PAGE).is_file() else "",
    )
    return write_atomic(reports / INDEX_PAGE, html)
