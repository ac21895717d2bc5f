"""Detection of post-contrast T1, and choice of the series of a visit. Each choice has a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.contrast import Recognised

MIN_ORDER_MINUTES = 3.0
"""Least time between the starts of two equal T1 series before and after contrast. A shorter time means a rescan."""

_AFTER = re.compile(
    r"(?<![a-z])(gd|gad|gado|gadolin\w*|ce|km|kontrast|contrast|post|c\+|\+c|\+gd|dotarem|gadovist|gadavist|prohance|"
    r"clariscan|magnevist|\+k)(?![a-z])|\+\s?(c|gd|km)\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"(?<![a-z])(pre(?![a-z])|pre[ _-]?(gd|gad|contrast|km|ce)|nativ\w*|without|ohne|sans|"
    r"non[ _-]?contrast|unenhanced)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Choice:
    """The series used for a contrast.

    Parameters
    ----------
    contrast : Contrast
    recognised : Recognised
    evidence : str
        How the contrast was recognised and why this series was chosen. It contains no header text.
    doubtful : bool
        True if the choice requires review by the quality-control staff.
    """

    contrast: Contrast
    recognised: Recognised
    evidence: str
    doubtful: bool


def split_gadolinium(recognised: Sequence[Recognised]) -> tuple[Recognised, ...]:
    """Distinguish pre-contrast from post-contrast T1.

    Evidence in order of strength: the start of the injection in the header compared with the time of the scan; words in
    the description; the contrast tag, unless every T1 of the visit has it (some scanners keep it for the whole exam);
    the order of equal T1 series. Decisions by order, or by a tag that every T1 has, are marked `doubtful`.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit.

    Returns
    -------
    tuple of Recognised
        In the same order; `contrast` of the post-contrast T1 is T1W_GD.
    """
    t1 = [r for r in recognised if r.contrast is Contrast.T1W]
    tagged = [r for r in t1 if r.series.first.contrast_agent]
    tag_tells = len(tagged) < len(t1) or len(t1) == 1
    decided: dict[int, Recognised] = {}
    for item in t1:
        verdict = _by_header(item, tag_tells=tag_tells)
        if verdict is not None:
            decided[id(item)] = _marked(item, *verdict)
    undecided = [r for r in t1 if id(r) not in decided]
    if not any(r.contrast is Contrast.T1W_GD for r in decided.values()):
        decided |= _by_order(undecided, all_tagged=bool(tagged) and not tag_tells)
    return tuple(decided.get(id(r), r) for r in recognised)


def _by_header(item: Recognised, *, tag_tells: bool) -> tuple[bool, str, bool] | None:
    """Whether it is post-contrast, why, and whether that is doubtful. None if the header is not conclusive."""
    facts = item.series.first
    acquired = item.series.acquired_s
    if facts.contrast_start_s is not None and acquired is not None:
        after = acquired >= facts.contrast_start_s
        return after, f"it started {'after' if after else 'before'} the injection time in its header", False
    named_before = _BEFORE.search(facts.description) is not None
    named_after = _AFTER.search(facts.description) is not None and not named_before
    tagged = facts.contrast_agent is True
    if named_before:
        return False, "its description says pre-contrast", tagged and tag_tells
    if named_after:
        return True, "its description says post-contrast" + (", as its contrast tag does" if tagged else ""), False
    if tagged and tag_tells:
        return True, "its contrast tag is set", False
    return None


def _by_order(undecided: Sequence[Recognised], *, all_tagged: bool) -> dict[int, Recognised]:
    """The last of equal, undecided T1 series is post-contrast if it started minutes after the first."""
    timed = sorted(
        (r for r in undecided if r.series.acquired_s is not None), key=lambda r: r.series.acquired_s or 0.0
    )
    decided: dict[int, Recognised] = {}
    for item in timed[1:]:
        first = next((r for r in timed if r is not item and _same_protocol(r, item)), None)
        if first is None or first.series.acquired_s is None or item.series.acquired_s is None:
            continue
        minutes = (item.series.acquired_s - first.series.acquired_s) / 60
        if minutes >= MIN_ORDER_MINUTES:
            evidence = (
                f"post-contrast by order only: a series of the same protocol started {minutes:.0f} min earlier"
            )
            decided[id(item)] = _marked(item, True, evidence, True)
    if all_tagged and not decided:
        # every T1 has the tag and none is repeated: the tag is accepted
        return {
            id(r): _marked(r, True, "its contrast tag is set, as in every T1 of the visit", True)
            for r in undecided
        }
    return decided


def _marked(item: Recognised, after: bool, why: str, doubtful: bool) -> Recognised:  # noqa: FBT001
    contrast = Contrast.T1W_GD if after else Contrast.T1W
    return replace(item, contrast=contrast, evidence=f"{item.evidence}; {why}", doubtful=item.doubtful or doubtful)


def _same_protocol(a: Recognised, b: Recognised) -> bool:
    one, two = a.series.first, b.series.first
    pairs = ((one.repetition_time_ms, two.repetition_time_ms), (one.echo_time_ms, two.echo_time_ms))
    close = all(x is None or y is None or abs(x - y) <= 0.1 * max(x, y) for x, y in pairs)
    return close and one.acquisition_type == two.acquisition_type and _plane(a) == _plane(b)


def _plane(item: Recognised) -> str:
    return item.series.geometry.plane if item.series.geometry else ""


def choose(recognised: Sequence[Recognised]) -> Mapping[Contrast, Choice]:
    """Choose one series per contrast: complete before incomplete, then the finest, then the last (a rescan).

    For pre-contrast T1, a series of the same protocol as the post-contrast T1 is preferred, because the two are
    compared voxel by voxel.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit, after `split_gadolinium`.

    Returns
    -------
    mapping of Contrast to Choice
        A contrast without a series is absent.
    """
    chosen: dict[Contrast, Choice] = {}
    for contrast in (Contrast.T1W_GD, *(c for c in Contrast if c is not Contrast.T1W_GD)):
        candidates = [r for r in recognised if r.contrast is contrast]
        if not candidates:
            continue
        partner = chosen.get(Contrast.T1W_GD) if contrast is Contrast.T1W else None
        best = max(candidates, key=lambda r: _rank(r, partner))
        evidence = best.evidence
        if len(candidates) > 1:
            evidence += f"; chosen from {len(candidates)} series of this contrast"
        chosen[contrast] = Choice(contrast, best, evidence, best.doubtful)
    return chosen


def _rank(item: Recognised, partner: Choice | None) -> tuple[bool, bool, bool, float, float]:
    geometry = item.series.geometry
    if geometry is None:
        return False, False, False, 0.0, 0.0
    alike = partner is not None and _same_protocol(item, partner.recognised)
    coarsest = max(geometry.spacing_mm)
    whole_head = geometry.coverage_mm >= 100  # excludes slabs; the limit of the protocol is checked later
    return geometry.complete, whole_head, alike, -round(coarsest, 1), item.series.acquired_s or 0.0
