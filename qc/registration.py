"""Which scans a person has to look at: a failed or doubtful registration, a brain not scanned whole, no contrast."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mri_pipeline.core.records import RegistrationRecord, VisitQuality
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.register import Method

LEAST_COVERED = 0.99
"""Share of the subject's brain that a visit must have scanned. The rim of a mask on slices of 3 mm is about 1 %."""

SURE_BRAIN = 0.8
"""A FLAIR whose head lies as its header says has 0.84 and more (11 real scans, 5 of them also at 3 mm, and 4 simulated
heads); where the header was turned by half a turn three real scans had 0.59 to 0.82."""

LEAST_ENHANCING = 0.002
"""Share of the brain that enhances clearly (`GelSettings.clear_enhancement`), about 3 mL. After contrast: 22 to 26 mL
in two real scans, at 1 and 3 mm, and 20 to 25 mL in twelve simulated ones; where the T1 before contrast, half a voxel
aside and with another gain, field and noise, was given as that after it, 0.2 mL at most; exchanged, 0.2 mL at most."""

SURE = 0.6
"""Quality of a registration from which on no person has to look, within and across contrasts alike. What is taken
begins at 0.5 (`RegisterSettings.min_quality`). Measured on six heads (`benchmarks/registration`): true matches 0.79 to
1.00 within and 0.57 to 1.00 across contrasts, one of 24 below this limit; fits that ended elsewhere up to 0.38, other
patients' heads up to 0.35, noise up to 0.25. What lies between is so rare that nobody knows what it is worth."""


MOST_FORM_DIFFERENCE_MM = 0.5
"""Half of the finest voxel: programs round qform and sform differently, and a qform has no shears."""


class Verdict(StrEnum):
    """What is thought of one registration."""

    REFERENCE = "reference"  # the others were brought to it
    GOOD = "good"
    DOUBTFUL = "doubtful"
    FAILED = "failed"


def judge(record: RegistrationRecord) -> Verdict:
    """What is thought of one registration.

    Examples
    --------
    >>> from mri_pipeline.core.visits import Contrast
    from mri_pipeline.images.register import Method
    >>> judge(RegistrationRecord(Contrast.FLAIR, "wk00", 0.55, "gauss-newton", failed=False)).value
    'doubtful'
    """
    if record.failed:
        return Verdict.FAILED
    if record.quality is None:
        return Verdict.REFERENCE
    return Verdict.DOUBTFUL if record.quality < SURE else Verdict.GOOD


def brain_qc_flag(quality: float) -> str:
    """What a person has to look at where the template hardly explains a FLAIR; empty where it does.

    Parameters
    ----------
    quality : float
        Of `mri_pipeline.images.brain.BrainExtraction`.
    """
    if quality >= SURE_BRAIN:
        return ""
    return (
        f"FLAIR: a doubtful match to the template (quality {quality:.2f}), look at its orientation and its brain"
    )


def duplicate_qc_flag(visits: Sequence[str]) -> str:
    """The QC flag of a FLAIR that has the voxels of other visits' FLAIRs; empty if it has not.

    Examples
    --------
    >>> duplicate_qc_flag(["wk00"])
    'FLAIR: the same voxels as at wk00; was the right scan uploaded?'
    """
    return f"FLAIR: the same voxels as at {', '.join(visits)}; was the right scan uploaded?" if visits else ""


def forms_qc_flag(contrast: Contrast, difference_mm: float) -> str:
    """The QC flag of a scan whose qform and sform differ; empty if they agree within `MOST_FORM_DIFFERENCE_MM`."""
    if difference_mm <= MOST_FORM_DIFFERENCE_MM:
        return ""
    return f"{contrast.value}: qform and sform differ by up to {difference_mm:.1f} mm; the sform is used"


def contrast_qc_flag(enhancing_share: float | None) -> str:
    """What a person has to look at where next to nothing enhances, vessels neither; empty where it does.

    Parameters
    ----------
    enhancing_share : float or None
        Of `mri_pipeline.lesions.gel.detect.GelDetection`; None is not known.
    """
    if enhancing_share is None or enhancing_share >= LEAST_ENHANCING:
        return ""
    return (
        "T1 after contrast: no enhancement, of vessels and dura neither; was contrast given, and are the two T1 not "
        "exchanged?"
    )


def qc_flags(quality: VisitQuality) -> list[str]:
    """What a person has to look at in one visit, a line each; none where all is well.

    Examples
    --------
    >>> from mri_pipeline.core.visits import Contrast
    from mri_pipeline.images.register import Method
    >>> t2w = RegistrationRecord(Contrast.T2W, "wk04", 0.12, "gauss-newton", failed=True)
    >>> qc_flags(VisitQuality("wk04", "", False, 1.0, (t2w,)))
    ['T2w left out: no match to the FLAIR (quality 0.12)']
    """
    found = [f"not analysed: {quality.failure}"] if quality.failure else []
    for record in quality.registrations:
        verdict, name = judge(record), record.contrast.value
        to = "the FLAIR" if record.reference == quality.visit else f"the FLAIR of {record.reference}"
        if record.method == Method.SAME_SCAN and record.failed:
            found.append(f"{name} left out: it has the same voxels as the FLAIR")
        elif verdict is Verdict.FAILED and not quality.failure:
            found.append(f"{name} left out: no match to {to} (quality {record.quality or 0.0:.2f})")
        elif verdict is Verdict.DOUBTFUL:
            found.append(f"{name} to {to}: a doubtful match (quality {record.quality:.2f}), look at the pictures")
    used = {record.contrast for record in quality.registrations if not record.failed}
    if not quality.failure and Contrast.T1W_GD in used and Contrast.T1W not in used:
        found.append(
            "enhancing lesions judged on T1 after contrast alone: what was bright before cannot be told from them"
        )
    if quality.brain_covered is not None and quality.brain_covered < LEAST_COVERED:
        found.append(
            f"FLAIR: has scanned {100 * quality.brain_covered:.0f} % of the brain that the visits show; what lies "
            "beyond is compared with no other visit"
        )
    if quality.note:
        found.append(quality.note)
    return found


def all_qc_flags(qualities: Sequence[VisitQuality]) -> list[str]:
    """The qc_flags of every visit, each under the visit's label."""
    return [f"{quality.visit}: {message}" for quality in qualities for message in qc_flags(quality)]
