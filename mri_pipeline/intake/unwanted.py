"""Series that have none of the contrasts of a trial, with the reason: by object, image type, name and acquisition."""

from __future__ import annotations

import re
from enum import StrEnum

from mri_pipeline.intake.facts import InstanceFacts, ObjectKind
from mri_pipeline.intake.geometry import Geometry
from mri_pipeline.intake.series import Series
from mri_pipeline.intake.timing import LIMITS

MIN_SLICES = 10
"""A series with fewer slices is a localizer, a test scan, or a part of a scan."""

MAX_IN_PLANE_MM = 2.5
"""Larger in-plane voxels are those of field maps and calibration scans."""

_MR_KINDS = (ObjectKind.MR, ObjectKind.ENHANCED_MR)


class Unwanted(StrEnum):
    """Why a series has none of the contrasts of the trial. The value completes 'series 3 is …'."""

    NOT_MR = "not an MR image"
    CAPTURE = "a screenshot (secondary capture)"
    BURNED_IN = "an image with text burned into it"
    MOSAIC = "a mosaic"
    DIFFUSION = "diffusion-weighted"
    ECHO_PLANAR = "echo-planar (functional, diffusion or perfusion)"
    DERIVED = "derived or reformatted, not an original acquisition"
    PHASE = "a phase, real or imaginary image"
    FAT = "a fat image"
    ANGIOGRAPHY = "angiography"
    SUSCEPTIBILITY = "susceptibility-weighted or T2*-weighted"
    DOUBLE_INVERSION = "double inversion or phase-sensitive inversion recovery"
    SHORT_INVERSION = "short-inversion (STIR)"
    BALANCED = "balanced steady-state free precession (such as FIESTA or CISS)"
    FIELD_MAP = "a map of B0 or B1, or a calibration scan"
    DYNAMIC = "of a dynamic contrast series"
    QUANTITATIVE = "a quantitative map or one of its source images"
    MP2RAGE = "an MP2RAGE image other than the denoised uniform one"
    LOCALIZER = "a localizer"
    FEW_SLICES = "of too few slices for a brain"
    REPEATED = "of several volumes at one position"
    EQUAL_ECHOES = "of several echoes that have the same echo time in their headers"
    ABORTED = "an aborted run beside a whole one of the same protocol"
    NO_GEOMETRY = "without position or orientation"
    OTHER_BODY = "not of the head"
    NOT_STATED = "not used: the site states another series of this contrast"
    UNKNOWN = "of a contrast that the trial does not use"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.IGNORECASE)


_LOCALIZER = re.compile(
    r"localiz|localis|\bloc\b|scout|survey|3[ -]?pl|plan[ _-]?scan|smartbrain|calib|asset[ _-]?cal", re.IGNORECASE
)
_DERIVED = _words("mpr|mip|subtract|sub|adc|fa|trace|cbf|cbv|mtt|ttp")
_ANGIO = re.compile(
    r"(?<![a-z])(tof|mra|mrv|angio|pca|venogr|venc|inhance)|(?<![a-z])pc(?![a-z])|willis|phase[ _-]?contrast",
    re.IGNORECASE,
)
_SUSCEPTIBILITY = re.compile(
    r"swi(?!ss(?![a-z]*pgr)|tz|ft|tch)|swan(?!sea)|"
    r"susceptib|t2[ _-]?\*|t2[ _-]?star|hemo|ffe[ _-]?t2|gre[ _-]?t2|qsm|\bmedic\b",
    re.IGNORECASE,
)
_DOUBLE = re.compile(r"(?<![a-z])(dir|psir|double[ _-]?inv\w*)(?![a-z])", re.IGNORECASE)
_OTHER_BODY = re.compile(r"spine|cervic|thorac|lumb|orbit|c-?spine|\bhws\b", re.IGNORECASE)
_DIFFUSION = re.compile(r"(?<![a-z])(dwi|dti|diff|adc|b[ _-]?1000)", re.IGNORECASE)
_BALANCED = _words(r"fiesta\w*|ciss|true?[ _-]?fisp|trufi\w*|b[ _-]?ffe|b[ _-]?tfe|balanced|\w*ssfp")
_FIELD_MAP = re.compile(
    r"(?<![a-z0-9])(r?b[01][ _+-]?(plus)?[ _-]?(map\w*|field|shim|cal\w*|ref)|tfl_b1\w*)|field[ _-]?map|fieldmap|"
    r"gre_field|(?<![a-z])(fmap|afi|bloch|siegert|dream)(?![a-z])|coil[ _-]?sens|sens[ _-]?(ref|map)|(?<![a-z])shim",
    re.IGNORECASE,
)
_DYNAMIC = _words(
    r"dce|dyn|dynami\w+|perf|perfusi\w+|dsc|twist|tricks|grasp|ktrans|keyhole|permeab\w*|4d|time[ _-]?resolved"
)
_QUANTITATIVE = re.compile(
    r"(?<![a-z0-9])(t1|t2|r1|r2|pd|mt|mtr|ir)[ _-]?(map|mapping|mapit)|(?<![a-z])(vfa|despot|molli|magic|mtsat|"
    r"relaxomet\w*|mrf|fingerprint\w*|qalas)(?![a-z])|(?<![a-z])(mtr|mt[ _-]?(on|off))(?![a-z])",
    re.IGNORECASE,
)
_MP2RAGE = re.compile(r"mp2[ _-]?rage|(?<![a-z])inv[ _-]?[12](?![0-9])", re.IGNORECASE)
_DENOISED = _words("den|denoised|uniden|uni[ _-]?den")


def unwanted_reason(series: Series) -> Unwanted | None:
    """Why a series has none of the contrasts of the trial, before its timing is considered.

    Parameters
    ----------
    series : Series

    Returns
    -------
    Unwanted or None
        None if it may have one.
    """
    facts, geometry = series.first, series.geometry
    return _by_object(facts) or _by_name_or_pulse(facts) or _by_geometry(series, geometry)


def _first(checks: tuple[tuple[bool, Unwanted], ...]) -> Unwanted | None:
    return next((reason for found, reason in checks if found), None)


def _by_object(facts: InstanceFacts) -> Unwanted | None:
    name, kinds, pulse = facts.description, set(facts.image_type), facts.sequence_name.lower()
    return _first((
        (facts.kind is ObjectKind.SECONDARY_CAPTURE, Unwanted.CAPTURE),
        (facts.kind not in _MR_KINDS or facts.modality not in ("", "MR"), Unwanted.NOT_MR),
        (facts.burned_in, Unwanted.BURNED_IN),
        (bool((facts.b_value or 0) > 0 or kinds & {"DIFFUSION", "ADC", "TRACEW", "FA"}
              or (_DIFFUSION.search(name) and facts.echo_planar)), Unwanted.DIFFUSION),
        (facts.echo_planar or "EP" in facts.scanning_sequence or "EPI_GEMS" in facts.scan_options
         or "EPI" in kinds or re.search(r"ep(i|2d|fid|_b)", pulse) is not None, Unwanted.ECHO_PLANAR),
        ("MOSAIC" in kinds, Unwanted.MOSAIC),
        (bool(kinds & {"LOCALIZER", "SCOUT"}) or _LOCALIZER.search(name) is not None, Unwanted.LOCALIZER),
        (bool(kinds & {"P", "PHASE", "PHASE MAP", "R", "I", "REAL", "IMAGINARY"}), Unwanted.PHASE),
        (bool(kinds & {"F", "FAT"}), Unwanted.FAT),
    ))  # fmt: skip


def _by_name_or_pulse(facts: InstanceFacts) -> Unwanted | None:
    name, kinds, pulse = facts.description, set(facts.image_type), facts.sequence_name.lower()
    return _first((
        (facts.angiography or _ANGIO.search(name) is not None or "tof" in pulse or _flows(facts), Unwanted.ANGIOGRAPHY),
        (bool(kinds & {"SWI", "MINIP", "MNIP"} or _SUSCEPTIBILITY.search(name)), Unwanted.SUSCEPTIBILITY),
        (bool(kinds & {"B1", "B0", "B0 MAP", "B1 MAP", "FIELD_MAP"} or _FIELD_MAP.search(name)
              or re.search(r"b1|fm2d|fm3d|fieldmap", pulse)), Unwanted.FIELD_MAP),
        (_BALANCED.search(name) is not None or _is_balanced(facts), Unwanted.BALANCED),
        (_DYNAMIC.search(name) is not None, Unwanted.DYNAMIC),
        (bool(kinds & {"T1 MAP", "T2 MAP", "R1", "R2"} or _QUANTITATIVE.search(name)), Unwanted.QUANTITATIVE),
        (_MP2RAGE.search(name) is not None and not (kinds & {"DEN"} or _DENOISED.search(name)), Unwanted.MP2RAGE),
        (_is_derived(facts), Unwanted.DERIVED),
        (_DOUBLE.search(name) is not None, Unwanted.DOUBLE_INVERSION),
        (_OTHER_BODY.search(name) is not None, Unwanted.OTHER_BODY),
    ))  # fmt: skip


def _by_geometry(series: Series, geometry: Geometry | None) -> Unwanted | None:
    if geometry is None or series.first.frames_differ:
        return Unwanted.NO_GEOMETRY
    return _first((
        (series.equal_echoes, Unwanted.EQUAL_ECHOES),
        (geometry.volumes > 1, Unwanted.REPEATED),
        (geometry.slices < MIN_SLICES, Unwanted.FEW_SLICES),
        (max(geometry.spacing_mm[:2]) > MAX_IN_PLANE_MM, Unwanted.FIELD_MAP),
    ))  # fmt: skip


def _flows(facts: InstanceFacts) -> bool:
    """Time of flight without its flag: a flow-compensated or refocused gradient echo with a TR of 15 to 60 ms."""
    tr, te = facts.repetition_time_ms, facts.echo_time_ms
    if tr is None or te is None or "SE" in facts.scanning_sequence:
        return False
    least, most = LIMITS.flow_tr_ms
    if not least <= tr <= most or te >= LIMITS.flow_te_ms:
        return False
    compensated = any(
        option.startswith("FC") or option in {"FLOW_COMP", "FLOWCOMP"} for option in facts.scan_options
    )
    return compensated or re.search(r"(^|\*)fi[23]d", facts.sequence_name.lower()) is not None


def _is_balanced(facts: InstanceFacts) -> bool:
    """A steady state without spoiling, refocused by a large flip angle."""
    variant, tr, flip = set(facts.sequence_variant), facts.repetition_time_ms, facts.flip_angle_deg
    named = re.search(r"(^|\*)(tfi|ci)[23]d|fiesta|ssfp", facts.sequence_name.lower()) is not None
    steady = "SS" in variant and "SP" not in variant and "GR" in facts.scanning_sequence
    if not steady or tr is None or flip is None:
        return named
    return named or (tr < LIMITS.balanced_tr_ms and flip >= LIMITS.balanced_flip_deg)


def _is_derived(facts: InstanceFacts) -> bool:
    kinds = facts.image_type
    reformatted = {"MPR", "REFORMATTED", "PROJECTION IMAGE", "RESAMPLED", "SUBTRACTION", "AVERAGE", "MEAN",
                   "CSA MPR", "COMPOSED", "MAX_IP", "MIN_IP"}  # fmt: skip
    # DERIVED\PRIMARY is accepted: scanners write it for images corrected for coil sensitivity or distortion
    return bool(set(kinds) & reformatted) or kinds[:2] == ("DERIVED", "SECONDARY") or (
        kinds[:1] == ("DERIVED",) and _DERIVED.search(facts.description) is not None
    )  # fmt: skip
