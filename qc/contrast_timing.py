"""Before or after contrast: what headers and names say, compared with the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.enhancement import Enhancement, EnhancementCheck, compare_t1
from mri_pipeline.intake.choose import Choice
from mri_pipeline.intake.contrast import Basis
from qc.compliance import TIMING_RULE, UploadPurpose
from qc.findings import ComplianceReport, Finding

RULE: Final = "enhancement"
_PAIR: Final = (Contrast.T1W, Contrast.T1W_GD)


@dataclass(frozen=True)
class TimingDecision:
    """Decision by the images about the two T1 of a visit.

    Parameters
    ----------
    source : mapping of Contrast to Contrast
        For each contrast to store, the contrast as which its series was chosen.
    chosen : mapping of Contrast to Choice
        The choices of the contrasts to store. A pair that the images decided has the basis `Basis.IMAGES`.
    compliance : ComplianceReport
        With the finding of the comparison. Findings of exchanged scans have their new names.
    unenhanced : Choice or None
        A post-contrast T1 whose images show no enhancement. It is not in `source` and `chosen`.
    """

    source: Mapping[Contrast, Contrast]
    chosen: Mapping[Contrast, Choice]
    compliance: ComplianceReport
    unenhanced: Choice | None = None


def decide_timing(
    images: Mapping[Contrast, Image],
    chosen: Mapping[Contrast, Choice],
    judge: Callable[[Mapping[Contrast, Choice]], ComplianceReport],
    *,
    purpose: UploadPurpose,
    required: bool = True,
) -> TimingDecision:
    """Compare the T1 before and after contrast, and decide which is which.

    - Enhancement present: both are stored. Doubts from headers and names become notes.
    - Absent: the post-contrast T1 is not stored as one, so that GEL stay empty, with a query. A dummy run of a protocol
      that requires it is refused.
    - Reversed: the two are exchanged, with a query that names header or name and images.
    - Undecided: both are stored with the doubts that they had.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Converted scans of one visit.
    chosen : mapping of Contrast to Choice
    judge : callable
        Judges the headers of chosen series (`qc.headers.HeaderChecks.judge`).
    purpose : UploadPurpose
    required : bool, optional
        True if the protocol requires the post-contrast T1.

    Returns
    -------
    TimingDecision
        Unchanged if one of the two T1 is missing.
    """
    source = {contrast: contrast for contrast in images}
    if not all(contrast in images and contrast in chosen for contrast in _PAIR):
        return TimingDecision(source, chosen, judge(chosen))
    check = compare_t1(images[Contrast.T1W], images[Contrast.T1W_GD])
    refuse = required and purpose is UploadPurpose.DUMMY_RUN
    finding = _finding(check, chosen, Action.REFUSE if refuse else Action.QUERY)
    if check.enhancement is Enhancement.UNDECIDED:
        return TimingDecision(source, chosen, judge(chosen).adding(finding))
    if check.enhancement is Enhancement.ABSENT:
        del source[Contrast.T1W_GD]
        kept = dict(chosen)
        unenhanced = kept.pop(Contrast.T1W_GD)
        return TimingDecision(source, kept, judge(chosen).adding(finding), unenhanced)
    if check.enhancement is Enhancement.REVERSED:
        source[Contrast.T1W], source[Contrast.T1W_GD] = Contrast.T1W_GD, Contrast.T1W
    decided = {
        c: _decided(c, chosen[source.get(c, c)], finding) if c in _PAIR else choice for c, choice in chosen.items()
    }
    exchanged = check.enhancement is Enhancement.REVERSED
    report = judge(decided) if exchanged else ComplianceReport(_settled(judge(chosen).findings))
    return TimingDecision(source, decided, report.adding(finding))


def _decided(contrast: Contrast, choice: Choice, finding: Finding) -> Choice:
    timing = choice.recognised.timing
    if timing is None:
        return choice
    after = contrast is Contrast.T1W_GD
    by_images = replace(timing, after=after, basis=Basis.IMAGES, evidence=finding.message, doubtful=False)
    recognised = replace(choice.recognised, contrast=contrast, timing=by_images)
    return replace(choice, contrast=contrast, recognised=recognised, timing_query="")


def _settled(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Doubts about before and after contrast become notes: the images have decided."""
    return tuple(replace(f, action=Action.NOTE) if f.rule == TIMING_RULE else f for f in findings)


def _finding(check: EnhancementCheck, chosen: Mapping[Contrast, Choice], if_absent: Action) -> Finding:
    contrast = Contrast.T1W_GD
    expected = f"{contrast.value}: expected enhancement against T1w"
    if check.upper is None or check.lower is None:
        return Finding(RULE, Action.NOTE, f"{expected}; the two T1 could not be compared", contrast)
    tails = f"(tails of the difference: +{check.upper:.2f}, -{check.lower:.2f} of the median)"
    labels = {c: chosen[c].recognised.series.label for c in _PAIR}
    stated = "; ".join(f"{labels[c]}: {_stated(chosen[c])}" for c in _PAIR)
    action: Action | None = None
    if check.enhancement is Enhancement.PRESENT:
        message = f"{expected}, found enhancement {tails}"
    elif check.enhancement is Enhancement.UNDECIDED:
        action, message = Action.NOTE, f"{expected}; the images do not decide {tails}"
    elif check.enhancement is Enhancement.ABSENT:
        action = if_absent
        message = (
            f"{expected}, found no enhancement {tails}, although {labels[contrast]} reads as post-contrast: "
            f"{_stated(chosen[contrast])}. It is not used, and GEL stay empty. Ask the site whether contrast was given"
        )
    else:
        action = Action.QUERY
        message = (
            f"{expected}, found enhancement of {labels[Contrast.T1W]} against {labels[contrast]} {tails}, although "
            f"headers and names state otherwise ({stated}). The two are exchanged. Ask the site which one was made "
            "after contrast"
        )
    return Finding(RULE, action, message, contrast, check.upper, None)


def _stated(choice: Choice) -> str:
    return choice.recognised.timing.evidence if choice.recognised.timing else "no statement"
