"""Verdict on a dummy run from its headers and images: accepted, accepted with queries, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.contrast import Recognised
from qc.content import judge_copies
from qc.findings import SEND_AGAIN, ComplianceReport, Finding
from qc.measures import ImageMeasures
from qc.quality_rules import judge_quality
from qc.scan_profile import ScanProfile


class Verdict(StrEnum):
    """Verdict on a dummy run. With the first two the site may enrol. Queries are listed and followed up."""

    ACCEPTED = "accepted"
    QUERIES = "accepted with queries"
    REFUSED = "refused"

    @property
    def opens_gate(self) -> bool:
        """True if the site may enrol."""
        return self is not Verdict.REFUSED


@dataclass(frozen=True)
class JudgedDummyRun:
    """A dummy run with its verdict, without patient data.

    Parameters
    ----------
    site : str
    verdict : Verdict
    findings : tuple of Finding
        Limits met and violated.
    recognised : tuple of Recognised
        All series of the upload with their recognised contrasts.
    profile : ScanProfile or None
        Scanner and protocol; None if no series was chosen.
    images : mapping of Contrast to Image
        The converted series.
    measures : mapping of Contrast to ImageMeasures
        Image quality of the converted series.
    """

    site: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    recognised: tuple[Recognised, ...]
    profile: ScanProfile | None
    images: Mapping[Contrast, Image]
    measures: Mapping[Contrast, ImageMeasures]

    def of(self, action: Action) -> tuple[Finding, ...]:
        """The findings with an action.

        Parameters
        ----------
        action : Action

        Returns
        -------
        tuple of Finding
            In the order of the checks.
        """
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
    measures: Mapping[Contrast, ImageMeasures],
) -> JudgedDummyRun:
    """Judge a site's dummy run, headers and images.

    Parameters
    ----------
    site : str
    protocol : Protocol
    compliance : ComplianceReport
        Findings of the headers.
    conversion_fault : str
        Reason why de-identification or conversion failed; empty if it succeeded. A fault leads to a refusal.
    recognised : tuple of Recognised
        All series of the upload with their recognised contrasts.
    profile : ScanProfile or None
        Scanner and protocol of the upload; None if no series was chosen.
    images : mapping of Contrast to Image
        The converted series.
    measures : mapping of Contrast to ImageMeasures
        Of `images`.

    Returns
    -------
    JudgedDummyRun
        With the verdict on all findings.
    """
    findings = list(compliance.findings)
    if conversion_fault:
        findings.append(Finding("conversion", Action.REFUSE, conversion_fault, to_do=SEND_AGAIN))
    found, _ = ComplianceReport(tuple(judge_images(measures, protocol))).without_optional(
        protocol.required_contrasts
    )
    findings += found.findings
    return JudgedDummyRun(site, verdict(findings), tuple(findings), recognised, profile, images, measures)


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Verdict from findings: refused with at least one refusal, else with queries if there is at least one query.

    Parameters
    ----------
    findings : sequence of Finding
        Met limits and notes do not count.

    Returns
    -------
    Verdict

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


def judge_images(measures: Mapping[Contrast, ImageMeasures], protocol: Protocol) -> list[Finding]:
    """Judge all scans of an upload, each by itself and against each other.

    Parameters
    ----------
    measures : mapping of Contrast to ImageMeasures
    protocol : Protocol

    Returns
    -------
    list of Finding
        Limits met and violated. An image that cannot be analysed is a refusal.
    """
    findings = [f for contrast, values in measures.items() for f in judge_image(contrast, values, protocol)]
    digests = {contrast: values.slice_digests for contrast, values in measures.items()}
    return findings + judge_copies(digests, protocol.required_contrasts)


def judge_image(contrast: Contrast, values: ImageMeasures, protocol: Protocol) -> list[Finding]:
    """Judge the image measures of one scan against the limits.

    Parameters
    ----------
    contrast : Contrast
    values : ImageMeasures
    protocol : Protocol
        With the limits of image quality.

    Returns
    -------
    list of Finding
        One for each limit, met or violated. An image without a head, or with blank or copied slices, is a refusal.
    """
    findings = judge_quality(contrast, values, protocol.image_quality)
    for rule, count, what in (
        ("blank_slices", values.blank_slices, "blank slices"),
        ("repeated_slices", values.repeated_slices, "copied slices"),
    ):
        message = f"{contrast.value}: expected no {what}, found {count}"
        action = Action.REFUSE if count else None
        findings.append(Finding(rule, action, message, contrast, float(count), 0.0, "slices", SEND_AGAIN))
    return findings
