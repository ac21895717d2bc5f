"""Acceptance report of a dummy run: one self-contained HTML file for the site and the reading centre."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.provenance import settings_digest, software
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import ScannerState
from qc.acceptance import JudgedDummyRun, Verdict
from qc.findings import NEVER_OVERRULED, Finding
from qc.measure_record import measure_record
from qc.placement import Placement
from qc.reports.bars import bars, reference_ranges
from qc.reports.mosaics import mosaics
from qc.reports.names import CONTRAST_NAMES, rule_name
from qc.reports.page import render
from qc.slices.doubtful import doubtful_slices

_ORDER: Final = (Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W, Contrast.PDW)
_SHOWN_DIGITS: Final = 16
_BEGIN: Final = "<!-- verdict -->"
_END: Final = "<!-- end of verdict -->"

_UNDECIDED: Final = ScannerState.UNDECIDED.value

_HEADLINES: Final = {
    Verdict.ACCEPTED.value: ("good", "The dummy run is accepted. The site may enrol."),
    Verdict.QUERIES.value: (
        "ask",
        "The dummy run is accepted. The site may enrol; please answer the queries below.",
    ),
    Verdict.REFUSED.value: (
        "bad",
        "The dummy run is refused. The site cannot enrol yet. Please correct the points and upload a new dummy run.",
    ),
    _UNDECIDED: (
        "ask",
        "No limit refuses the dummy run. The site cannot enrol until the reading centre has accepted it.",
    ),
}
"""Tone and sentence for each verdict."""

_NOT_LISTED: Final = frozenset({"slice_digests", "placement"})
"""Parts of the measures that are no values."""


@dataclass(frozen=True)
class Context:
    """What a report says beside the judgement of the dummy run.

    Parameters
    ----------
    protocol : Protocol
        With the name of the trial and the limits.
    upload : str
        SHA-256 of the upload.
    judged_on : datetime.date
        Day of the judgement.
    reviewer : str
        Who had it judged, without patient data.
    decisions : sequence of mapping, optional
        Of persons on the same upload (`decisions_of`).
    """

    protocol: Protocol
    upload: str
    judged_on: dt.date
    reviewer: str
    decisions: Sequence[Mapping[str, Any]] = ()

    @property
    def answer_by(self) -> dt.date:
        """Day until which the site answers the queries."""
        return self.judged_on + dt.timedelta(days=self.protocol.scanner_gate.answer_within_days)


def acceptance_html(run: JudgedDummyRun, context: Context) -> str:
    """Render the report.

    Parameters
    ----------
    run : JudgedDummyRun
    context : Context

    Returns
    -------
    str
        HTML with embedded style and images. It contains no patient data: no description, name, number or date from
        a header. Face and ears are blanked in the mosaics (`qc.reports.mosaics.mosaics`).
    """
    flair = run.measures.get(Contrast.FLAIR)
    placement = flair.placement if flair else None
    return render(
        "acceptance.html.j2",
        trial=context.protocol.name,
        site=run.site,
        block=_verdict_block(_verdict(run, context), context.decisions),
        refusals=[_row(f, "before enrolment") for f in run.of(Action.REFUSE)],
        queries=[_row(f, f"{context.answer_by:%Y-%m-%d}") for f in run.of(Action.QUERY)],
        notes=[_row(f, "") for f in run.of(Action.NOTE)],
        met=[_row(f, "") for f in run.findings if f.action is None],
        facts=[
            ("Upload", context.upload[:_SHOWN_DIGITS]),
            ("Judged on", f"{context.judged_on:%Y-%m-%d}"),
            ("Reviewer", context.reviewer),
        ],
        scanner=_scanner(run),
        series=[r.evidence for r in run.recognised],
        images=[_image(contrast, run, context, placement) for contrast in _ORDER if contrast in run.images],
        reference=reference_ranges()["source"],
        software=software(),
        settings_digest=settings_digest(context.protocol),
    )


def acceptance_json(run: JudgedDummyRun, context: Context) -> str:
    """The verdict, all findings and all measures of a dummy run, for machines.

    Parameters
    ----------
    run : JudgedDummyRun
    context : Context

    Returns
    -------
    str
        JSON without patient data. A value that could not be measured is null.
    """
    findings = [
        {**asdict(f), "action": f.action or "met", "contrast": f.contrast.value if f.contrast else None}
        for f in run.findings
    ]
    measures = {
        contrast.value: {k: v for k, v in asdict(values).items() if k not in _NOT_LISTED}
        for contrast, values in run.measures.items()
    }
    content = {
        "trial": context.protocol.name,
        "site": run.site,
        "verdict": _verdict(run, context),
        "by_limits": run.verdict.value,
        "upload": context.upload,
        "judged_on": f"{context.judged_on:%Y-%m-%d}",
        "answer_by": f"{context.answer_by:%Y-%m-%d}",
        "reviewer": context.reviewer,
        "scanner": dict(_scanner(run)),
        "settings": settings_digest(context.protocol),
        "findings": findings,
        "measures": measures,
        "decisions": list(context.decisions),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def decisions_of(page: Path) -> list[dict[str, Any]]:
    """The decisions of persons in the JSON beside a report.

    Parameters
    ----------
    page : Path
        The report; need not exist.

    Returns
    -------
    list of dict
        Oldest first.
    """
    values = page.with_suffix(".json")
    if not values.is_file():
        return []
    decisions: list[dict[str, Any]] = json.loads(values.read_text(encoding="utf-8")).get("decisions", [])
    return decisions


def add_decision(page: Path, *, state: str, reason: str, by: str, day: dt.date, final: bool) -> None:
    """Enter the decision of a person in a report and in the JSON beside it. Verdict and headline follow a final one.

    Parameters
    ----------
    page : Path
        The report. Nothing is done if it does not exist, as that of an upload that could not be judged.
    state : str
        ``accepted`` or ``refused``.
    reason, by : str
        Without patient data.
    day : datetime.date
    final : bool
        False if a second person has to confirm it.
    """
    values = page.with_suffix(".json")
    if not page.is_file() or not values.is_file():
        return
    content = json.loads(values.read_text(encoding="utf-8"))
    decision = {"decision": state, "reason": reason, "by": by, "on": f"{day:%Y-%m-%d}", "final": final}
    content.setdefault("decisions", []).append(decision)
    content["verdict"] = _decided(content["decisions"], content.get("by_limits", "")) or content["verdict"]
    html = page.read_text(encoding="utf-8")
    start, end = html.find(_BEGIN), html.find(_END)
    if start >= 0 and end >= 0:
        block = _verdict_block(content["verdict"], content["decisions"])
        write_atomic(page, html[: start + len(_BEGIN)] + block + html[end:])
    write_atomic(values, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _verdict(run: JudgedDummyRun, context: Context) -> str:
    """The final decision of a person; without one, the verdict by the limits, or that a person has to decide first.

    A refusal that no person overrules stands.
    """
    if any(finding.rule in NEVER_OVERRULED for finding in run.of(Action.REFUSE)):
        return run.verdict.value
    waiting = run.verdict.opens_gate and context.protocol.scanner_gate.persons > 0
    return _decided(context.decisions, run.verdict.value) or (_UNDECIDED if waiting else run.verdict.value)


def _decided(decisions: Sequence[Mapping[str, Any]], by_limits: str) -> str:
    """The verdict by the last final decision; empty without one. An accepted run keeps its queries."""
    final = [decision["decision"] for decision in decisions if decision["final"]]
    if not final:
        return ""
    queries = final[-1] == ScannerState.ACCEPTED.value and by_limits == Verdict.QUERIES.value
    return Verdict.QUERIES.value if queries else str(final[-1])


def _verdict_block(verdict: str, decisions: Sequence[Mapping[str, Any]]) -> str:
    tone, headline = _HEADLINES[verdict]
    return render("verdict.html.j2", verdict=verdict, tone=tone, headline=headline, decisions=decisions)


def _row(finding: Finding, until: str) -> dict[str, str]:
    prefix = f"{finding.contrast.value}: " if finding.contrast else ""
    message = finding.message.removeprefix(prefix)
    unit = f" {finding.unit}" if finding.unit else ""
    return {
        "rule": rule_name(finding.rule),
        "contrast": CONTRAST_NAMES[finding.contrast] if finding.contrast else "all",
        "message": message[:1].upper() + message[1:] + ".",
        "measured": "" if finding.measured is None else f"{finding.measured:.4g}{unit}",
        "limit": "" if finding.limit is None else f"{finding.limit:g}{unit}",
        "to_do": finding.to_do[:1].upper() + finding.to_do[1:] + "." if finding.action and finding.to_do else "",
        "until": until,
    }


def _scanner(run: JudgedDummyRun) -> list[tuple[str, str]]:
    if run.profile is None:
        return []
    field = run.profile.field_strength_t
    return [
        ("Manufacturer", run.profile.manufacturer or "not stated"),
        ("Model", run.profile.model or "not stated"),
        ("Software", run.profile.software or "not stated"),
        ("Field strength", "not stated" if field is None else f"{field:.4g} T"),
        ("Receive coil", run.profile.coil or "not stated"),
    ]


def _image(
    contrast: Contrast, run: JudgedDummyRun, context: Context, placement: Placement | None
) -> dict[str, Any]:
    image, limits = run.images[contrast], context.protocol.image_quality
    violated = {f.rule for f in run.findings if f.contrast is contrast and f.action and f.measured is not None}
    doubtful = doubtful_slices(image, limits, violated)
    values = measure_record({contrast: run.measures[contrast]})[contrast.value] if contrast in run.measures else {}
    return {
        "name": CONTRAST_NAMES[contrast],
        "mosaics": mosaics(image, doubtful, placement),
        "slices": image.grid.shape[image.grid.slice_axis],
        "doubtful": [(index + 1, reason) for index, reason in doubtful.items()],
        "voxels": " x ".join(map(str, image.grid.shape)),
        "spacing": " x ".join(f"{s:.2f}" for s in image.grid.spacing_mm),
        "bars": bars(contrast, values, context.protocol),
    }
