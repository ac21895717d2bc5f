"""The verdict on a dummy run: from what the headers and the images say to accepted, queries or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mri_pipeline.core.protocol import Action, Limit, Protocol
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.contrast import Recognised
from qc.compliance import ComplianceReport, Finding, ScanProfile
from qc.measures import ImageMeasures, measure

MAX_GHOSTING_PERCENT: Final = 1.5
"""A look is asked for well below the 2.5 % that phantoms are held to (ACR MRI quality control manual 2015): a head
that moved by 6 mm gives 0.7 to 2.2 % in the digital reference trial, one that lay still less than 0.1 %."""

MAX_EDGE_SHARE: Final = 0.05
"""A nose or an ear may touch the edge of the field of view, a head may not."""

MAX_SLICE_STEP_PERCENT: Final = 25.0
"""Real clinical 2D scans of good quality stay below 15 % (14 scans of the Ljubljana longitudinal data)."""


class Verdict(StrEnum):
    """What a dummy run leads to. The first two open the site's gate; queries are listed and followed up."""

    ACCEPTED = "accepted"
    QUERIES = "accepted with queries"
    REFUSED = "refused"

    @property
    def opens_gate(self) -> bool:
        """Whether the site may enrol."""
        return self is not Verdict.REFUSED


@dataclass(frozen=True)
class DummyRun:
    """A judged dummy run; without patient data, fit for a report.

    Parameters
    ----------
    site : str
    verdict : Verdict
    findings : tuple of Finding
        All of them, met and broken.
    recognised : tuple of Recognised
    profile : ScanProfile or None
    images : mapping of Contrast to Image
    measures : mapping of Contrast to ImageMeasures
    """

    site: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    recognised: tuple[Recognised, ...]
    profile: ScanProfile | None
    images: Mapping[Contrast, Image]
    measures: Mapping[Contrast, ImageMeasures]

    def of(self, action: Action) -> tuple[Finding, ...]:
        """The findings that lead to `action`."""
        return tuple(f for f in self.findings if f.action is action)


def judge_dummy_run(
    site: str,
    *,
    protocol: Protocol,
    compliance: ComplianceReport,
    conversion_fault: str,
    recognised: tuple[Recognised, ...],
    profile: ScanProfile | None,
    images: Mapping[Contrast, Image],
) -> DummyRun:
    """Judge a site's dummy run, headers and images.

    Parameters
    ----------
    site : str
    protocol : Protocol
    compliance : ComplianceReport
        What the headers say.
    conversion_fault : str
        Why the series could not be de-identified or converted; empty where they were. A fault is a refusal.
    recognised, profile
        Of the upload.
    images : mapping of Contrast to Image
        The converted series.
    """
    findings = list(compliance.findings)
    if conversion_fault:
        findings.append(Finding("conversion", Action.REFUSE, conversion_fault))
    measures = {contrast: measure(image, contrast) for contrast, image in images.items()}
    findings += [f for contrast, values in measures.items() for f in judge_image(contrast, values, protocol)]
    return DummyRun(site, verdict(findings), tuple(findings), recognised, profile, images, measures)


def verdict(findings: Sequence[Finding]) -> Verdict:
    """The verdict that findings lead to: one refusal refuses, one query asks.

    Examples
    --------
    >>> verdict([Finding("gap", None, "met"), Finding("snr", Action.QUERY, "low")]).value
    'accepted with queries'
    """
    if ComplianceReport(tuple(findings)).of(Action.REFUSE):
        return Verdict.REFUSED
    if ComplianceReport(tuple(findings)).of(Action.QUERY):
        return Verdict.QUERIES
    return Verdict.ACCEPTED


def judge_image(contrast: Contrast, values: ImageMeasures, protocol: Protocol) -> list[Finding]:
    """Findings of one scan's measures."""
    quality = protocol.image_quality
    query = Action.QUERY
    findings = [
        _at_least("snr", "a signal-to-noise ratio", contrast, values.snr, quality.min_snr),
        _at_least(
            "cnr", "a contrast-to-noise ratio of grey and white matter", contrast, values.cnr, quality.min_cnr
        ),
        _at_most(
            "edge",
            "head at the side of the field of view",
            contrast,
            100 * values.edge_share,
            100 * MAX_EDGE_SHARE,
        ),
        _at_most(
            "slice_step", "a step between slices", contrast, values.slice_step_percent, MAX_SLICE_STEP_PERCENT
        ),
    ]
    if values.ghosting_percent is not None:
        findings.append(_at_most("ghosting", "ghosting", contrast, values.ghosting_percent, MAX_GHOSTING_PERCENT))
    reach = "through" if values.cut_at_top else "not beyond"
    message = f"{contrast.value}: the head reaches {reach} the uppermost slice"
    findings.append(Finding("vertex", query if values.cut_at_top else None, message, contrast))
    for rule, count, what in (
        ("blank_slices", values.blank_slices, "blank slices"),
        ("repeated_slices", values.repeated_slices, "slices equal to their neighbour"),
    ):
        message = f"{contrast.value}: expected no {what}, found {count}"
        findings.append(Finding(rule, query if count else None, message, contrast, float(count), 0.0, "slices"))
    return findings


def _at_least(rule: str, what: str, contrast: Contrast, measured: float | None, limit: Limit) -> Finding:
    if measured is None:
        message = f"{contrast.value}: expected {what} of at least {limit.value:g}, found no noise to measure"
        return Finding(rule, limit.action, message, contrast, None, limit.value)
    message = f"{contrast.value}: expected {what} of at least {limit.value:g}, found {measured:.1f}"
    return Finding(
        rule, limit.action if measured < limit.value else None, message, contrast, measured, limit.value
    )


def _at_most(rule: str, what: str, contrast: Contrast, measured: float, limit: float) -> Finding:
    action = Action.QUERY if measured > limit else None
    message = f"{contrast.value}: expected {what} of at most {limit:g} %, found {measured:.1f} %"
    return Finding(rule, action, message, contrast, measured, limit, "%")
