"""Recognise the contrast of a series from acquisition parameters, and from its description in second place.

The limits are in `mri_pipeline.intake.timing`. Every decision has its evidence, which contains no header text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.series import Series
from mri_pipeline.intake.timing import LIMITS
from mri_pipeline.intake.unwanted import Unwanted, unwanted_reason


class Basis(StrEnum):
    """How a T1 was recognised as pre-contrast or post-contrast."""

    HEADER = "header"
    NAME = "name"
    ORDER = "order"
    IMAGES = "images"
    SITE = "site"
    NONE = "none"


@dataclass(frozen=True)
class ContrastTiming:
    """Whether a T1 was made before or after contrast, and how that is known.

    Parameters
    ----------
    after : bool
        True for post-contrast.
    basis : Basis
    evidence : str
        Without header text. A contradiction names both sides.
    doubtful : bool
        True if it requires review by the quality-control staff.
    contradictory : bool
        True if header, description and order do not agree. Implies `doubtful`.
    """

    after: bool
    basis: Basis
    evidence: str
    doubtful: bool = False
    contradictory: bool = False


@dataclass(frozen=True)
class Recognised:
    """The recognised contrast of a series, or the reason why it has none.

    Parameters
    ----------
    series : Series
    contrast : Contrast or None
        T1W for every T1-weighted series; `mri_pipeline.intake.gadolinium` finds the post-contrast ones.
    unwanted : Unwanted or None
        Why the series has no contrast; None if it has one.
    evidence : str
        Without header text.
    doubtful : bool
        True if description and acquisition parameters disagree, or if parameters are missing.
    timing : ContrastTiming or None
        Of a T1, after `mri_pipeline.intake.gadolinium.split_gadolinium`.
    """

    series: Series
    contrast: Contrast | None
    unwanted: Unwanted | None
    evidence: str
    doubtful: bool = False
    timing: ContrastTiming | None = None


_NAMES: tuple[tuple[Contrast, re.Pattern[str]], ...] = (
    (Contrast.FLAIR, re.compile(r"flair|dark[ _-]?fluid|\btirm\b", re.IGNORECASE)),
    (Contrast.PDW, re.compile(r"(?<![a-z0-9])(pd|dp|rho|proton)(?![a-z])", re.IGNORECASE)),
    (Contrast.T2W, re.compile(r"(?<![a-z0-9])t2", re.IGNORECASE)),
    (Contrast.T1W, re.compile(r"(?<![a-z0-9])t1|mp[ _-]?rage|bravo|\btfe\b|spgr", re.IGNORECASE)),
)
_T1_FLAIR = re.compile(r"(?<![a-z0-9])t1.{0,12}flair", re.IGNORECASE)


def recognise(series: Series) -> Recognised:
    """Recognise the contrast of a series.

    Parameters
    ----------
    series : Series

    Returns
    -------
    Recognised
        With either a contrast or the reason why there is none.
    """
    found = _recognised(series)
    if series.times_sent > 1:
        return replace(found, evidence=f"{found.evidence}; sent {series.times_sent} times, used once")
    return found


def _recognised(series: Series) -> Recognised:
    unwanted = unwanted_reason(series)
    if unwanted is not None:
        return Recognised(series, None, unwanted, f"{series.label} is {unwanted.value}")
    return by_acquisition(series)


def by_acquisition(series: Series) -> Recognised:
    """The contrast of a series by acquisition parameters and description, whatever its object and geometry.

    Parameters
    ----------
    series : Series

    Returns
    -------
    Recognised
        As `recognise`.
    """
    facts = series.first
    physics, reason = by_physics(facts)
    named = by_name(facts)
    if physics is None and isinstance(reason, Unwanted):
        return Recognised(series, None, reason, f"{series.label} is {reason.value}")
    if physics is not None:
        disagree = named is not None and named is not physics
        evidence = f"{series.label} is {physics.value} by {reason}"
        if disagree and named is not None:
            evidence += f", but its description says {named.value}"
        return Recognised(series, physics, None, evidence, doubtful=disagree)
    if named is not None and _timing_missing(facts):
        evidence = f"{series.label} is {named.value} by its description only (the header has no TR or TE)"
        return Recognised(series, named, None, evidence, doubtful=True)
    return Recognised(series, None, Unwanted.UNKNOWN, f"{series.label} is {Unwanted.UNKNOWN.value}")


def _timing_missing(facts: InstanceFacts) -> bool:
    return facts.repetition_time_ms is None or facts.echo_time_ms is None


def by_physics(facts: InstanceFacts) -> tuple[Contrast | None, str | Unwanted]:
    """The contrast from TR, TE, TI (ms) and the echo type, with the deciding rule.

    Parameters
    ----------
    facts : InstanceFacts
        Without TR or TE, no rule applies.

    Returns
    -------
    contrast : Contrast or None
    reason : str or Unwanted
        The rule that applied, the reason of a refusal, or ``"no rule"``.
    """
    tr, te, ti = facts.repetition_time_ms, facts.echo_time_ms, facts.inversion_time_ms
    if tr is None or te is None:
        return None, "no rule"
    gradient = _is_gradient_echo(facts, tr, te)
    evidence = f"TR {tr:.0f}, TE {te:.0f}" + (f", TI {ti:.0f} ms" if ti else " ms")
    if gradient:
        return _gradient_echo(te, ti, evidence)
    if ti is not None:
        return _inversion_recovery(tr, te, ti, evidence)
    return _spin_echo(facts, tr, te, evidence)


def _gradient_echo(te: float, ti: float | None, evidence: str) -> tuple[Contrast | None, str | Unwanted]:
    if te > LIMITS.susceptibility_te_ms:
        return None, Unwanted.SUSCEPTIBILITY
    if ti is not None and ti > LIMITS.second_inversion_ms:
        return None, "no rule"  # the second inversion of MP2RAGE has little T1 weighting
    return Contrast.T1W, f"a gradient echo of {evidence}"


def _spin_echo(
    facts: InstanceFacts, tr: float, te: float, evidence: str
) -> tuple[Contrast | None, str | Unwanted]:
    named = by_name(facts)
    if tr >= LIMITS.long_tr_ms and te >= LIMITS.long_te_ms and named is Contrast.FLAIR:
        return Contrast.FLAIR, f"{evidence} and its description (the header has no inversion time)"
    if tr < LIMITS.t1_tr_ms:
        return (Contrast.T1W, evidence) if te <= LIMITS.t1_te_ms else (None, "no rule")
    unclear_from, unclear_to = LIMITS.between_te_ms
    if unclear_from <= te < unclear_to and named in (Contrast.PDW, Contrast.T2W):
        return named, f"{evidence} and its description"
    if te >= LIMITS.t2_te_ms:
        return Contrast.T2W, evidence
    # without inversion time, T1 FLAIR has the parameters of proton density
    if _T1_FLAIR.search(facts.description) and tr < LIMITS.t1_flair_tr_ms:
        return Contrast.T1W, f"{evidence} and its description (the header has no inversion time)"
    return Contrast.PDW, evidence


def _inversion_recovery(tr: float, te: float, ti: float, evidence: str) -> tuple[Contrast | None, str | Unwanted]:
    least, most = LIMITS.flair_ti_ms
    if least <= ti <= most and tr >= LIMITS.long_tr_ms and te >= LIMITS.long_te_ms:
        return Contrast.FLAIR, evidence
    if ti < LIMITS.short_ti_ms and tr >= LIMITS.short_ti_tr_ms:
        return None, Unwanted.SHORT_INVERSION
    least, most = LIMITS.t1_ti_ms
    if least <= ti <= most and te <= LIMITS.t1_ti_te_ms:
        return Contrast.T1W, f"inversion recovery of {evidence}"
    return None, "no rule"


def _is_gradient_echo(facts: InstanceFacts, tr: float, te: float) -> bool:
    if "GR" in facts.scanning_sequence:
        return True
    if "SE" in facts.scanning_sequence:
        return False
    if re.search(r"(^|\*)(tfl|fl\d|fi\d)|ffe|tfe|spgr|bravo|mprage", facts.sequence_name.lower()):
        return True
    if re.search(r"(^|\*)(tse|tir|se\d|spc|sp[cr]r)|fse|tse|cube|vista", facts.sequence_name.lower()):
        return False
    # too fast for a spin echo; enhanced objects have no ScanningSequence
    flip_deg = facts.flip_angle_deg or LIMITS.usual_flip_deg
    return te < LIMITS.fast_te_ms and (tr < LIMITS.fast_tr_ms or flip_deg < LIMITS.fast_flip_deg)


def by_name(facts: InstanceFacts) -> Contrast | None:
    """The contrast in the description of a series.

    Parameters
    ----------
    facts : InstanceFacts

    Returns
    -------
    Contrast or None
        None if the description names no contrast.
    """
    name = facts.description
    if _T1_FLAIR.search(name):
        return Contrast.T1W
    return next((contrast for contrast, pattern in _NAMES if pattern.search(name)), None)
