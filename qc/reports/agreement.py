"""Page of the agreement of readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mri_pipeline.analysis.reads.agreement import AgreementRow
from qc.reports.page import render

STATISTICS = {
    "kappa_any": "kappa, any",
    "icc_2_1": "ICC(2,1)",
    "bland_altman_bias": "bias",
    "dice_median": "Dice, median",
}
"""Titles of the statistics."""
_NONE, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class AgreementGroup:
    """Pairs of reads that are analysed together.

    Parameters
    ----------
    comparison : str
        ``between readers`` or ``within reader``.
    readers : str
        Code of the reader, or of both with a hyphen.
    subjects, visits : int
        Number of subjects and visits.
    rows : tuple of AgreementRow
    """

    comparison: str
    readers: str
    subjects: int
    visits: int
    rows: tuple[AgreementRow, ...]


def agreement_html(
    groups: Sequence[AgreementGroup], *, study: str, settings_digest: str, software: Mapping[str, str]
) -> str:
    """Render the page.

    Parameters
    ----------
    groups : sequence of AgreementGroup
    study : str
        Name of the trial.
    settings_digest : str
        `provenance.settings_digest` of the protocol.
    software : mapping of str to str
        `provenance.software`.

    Returns
    -------
    str
        HTML. Equal input gives equal text.
    """
    return render(
        "agreement.html.j2",
        groups=[
            {
                "title": f"{group.comparison.capitalize()}: {group.readers}",
                "subjects": group.subjects,
                "visits": group.visits,
                "rows": [_cells(row) for row in group.rows],
            }
            for group in groups
        ],
        study=study,
        settings_digest=settings_digest,
        software=software,
    )


def _cells(row: AgreementRow) -> dict[str, object]:
    low, high = _number(row.estimate.low), _number(row.estimate.high)
    return {
        "endpoint": row.endpoint,
        "statistic": STATISTICS[row.statistic],
        "value": _number(row.estimate.value),
        "interval": "" if _NONE in (low, high) else f"{low} to {high}",
        "n": row.n,
    }


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}".replace("-", _MINUS)
