"""QC flags of registered scans: failed or uncertain registration, incomplete brain coverage, missing enhancement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.records import RegistrationRecord, VisitQuality
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.enhancement import Enhancement, compare_registered_t1
from mri_pipeline.images.register import RegistrationMethod

_FLAGS = METHOD.registration_flags


class RegistrationVerdict(StrEnum):
    """Verdict on one registration."""

    REFERENCE = "reference"  # the target of the other registrations
    GOOD = "good"
    DOUBTFUL = "doubtful"
    FAILED = "failed"


def judge(record: RegistrationRecord) -> RegistrationVerdict:
    """Judge one registration.

    Parameters
    ----------
    record : RegistrationRecord

    Returns
    -------
    RegistrationVerdict

    Examples
    --------
    >>> from mri_pipeline.core.visits import Contrast
    >>> judge(RegistrationRecord(Contrast.FLAIR, "wk00", 0.55, "gauss-newton", failed=False)).value
    'doubtful'
    """
    if record.failed:
        return RegistrationVerdict.FAILED
    if record.quality is None:
        return RegistrationVerdict.REFERENCE
    return RegistrationVerdict.DOUBTFUL if record.quality < _FLAGS.sure else RegistrationVerdict.GOOD


def brain_qc_flag(quality: float) -> str:
    """QC flag for a FLAIR that matches the template poorly; empty if it matches well.

    Parameters
    ----------
    quality : float
        `mri_pipeline.images.brain.BrainExtraction.quality`, 0 to 1.

    Returns
    -------
    str
    """
    if quality >= _FLAGS.sure_brain:
        return ""
    return f"FLAIR: poor match to the template (quality {quality:.2f}); check its orientation and brain mask"


def duplicate_qc_flag(visits: Sequence[str]) -> str:
    """QC flag for a FLAIR with the same voxels as FLAIRs of other visits; empty if `visits` is empty.

    Parameters
    ----------
    visits : sequence of str
        Labels of the other visits.

    Returns
    -------
    str

    Examples
    --------
    >>> duplicate_qc_flag(["wk00"])
    'FLAIR: the same voxels as at wk00; was the right scan uploaded?'
    """
    return f"FLAIR: the same voxels as at {', '.join(visits)}; was the right scan uploaded?" if visits else ""


def forms_qc_flag(contrast: Contrast, difference_mm: float) -> str:
    """QC flag for a scan whose qform and sform differ.

    Parameters
    ----------
    contrast : Contrast
    difference_mm : float
        Largest distance in mm between the positions of a voxel.

    Returns
    -------
    str
        Empty if they agree within `RegistrationFlags.most_form_difference_mm`.
    """
    if difference_mm <= _FLAGS.most_form_difference_mm:
        return ""
    return f"{contrast.value}: qform and sform differ by up to {difference_mm:.1f} mm; the sform is used"


def contrast_qc_flag(contrasts: Mapping[Contrast, Image], brain: LabelImage, *, t1_enhanced: bool) -> str:
    """QC flag for T1 scans that are not what they are called; empty otherwise.

    Parameters
    ----------
    contrasts : mapping of Contrast to Image
        Images of one visit on one grid.
    brain : LabelImage
        On the same grid.
    t1_enhanced : bool
        True if the T1 before contrast looks post-contrast (`mri_pipeline.images.enhancement.looks_enhanced`).

    Returns
    -------
    str
        Names a post-contrast T1 without enhancement, not even of vessels, and a pre-contrast T1 with enhancement.
    """
    found = []
    if t1_enhanced:
        found.append("T1w: choroid plexus and vessels are bright as after contrast; black holes are not counted")
    if Contrast.T1W in contrasts and Contrast.T1W_GD in contrasts:
        check = compare_registered_t1(contrasts[Contrast.T1W], contrasts[Contrast.T1W_GD], brain)
        found += [_COMPARED[check.enhancement]] if check.enhancement in _COMPARED else []
    return "; ".join(found)


_COMPARED = {
    Enhancement.ABSENT: "T1 after contrast: no enhancement, not even of vessels; check that contrast was given",
    Enhancement.REVERSED: "T1 after contrast: T1w enhances against it; check whether the two T1 are swapped",
}


def qc_flags(quality: VisitQuality) -> list[str]:
    """QC flags of one visit, one line each; an empty list requires no visual QC.

    Parameters
    ----------
    quality : VisitQuality

    Returns
    -------
    list of str

    Examples
    --------
    >>> from mri_pipeline.core.visits import Contrast
    >>> t2w = RegistrationRecord(Contrast.T2W, "wk04", 0.12, "gauss-newton", failed=True)
    >>> qc_flags(VisitQuality("wk04", "", False, 1.0, (t2w,)))
    ['T2w excluded: registration to the FLAIR failed (quality 0.12)']
    """
    found = [f"not analysed: {quality.failure}"] if quality.failure else []
    for record in quality.registrations:
        verdict, name = judge(record), record.contrast.value
        to = "the FLAIR" if record.reference == quality.visit else f"the FLAIR of {record.reference}"
        if record.method == RegistrationMethod.SAME_SCAN and record.failed:
            found.append(f"{name} excluded: it has the same voxels as another contrast of the visit")
        elif verdict is RegistrationVerdict.FAILED and not quality.failure:
            found.append(f"{name} excluded: registration to {to} failed (quality {record.quality or 0.0:.2f})")
        elif verdict is RegistrationVerdict.DOUBTFUL:
            found.append(
                f"{name} to {to}: uncertain registration (quality {record.quality:.2f}); check the images"
            )
    used = {record.contrast for record in quality.registrations if not record.failed}
    if not quality.failure and Contrast.T1W_GD in used and Contrast.T1W not in used:
        found.append(
            "GEL detected on post-contrast T1 alone: tissue that is bright before contrast cannot be excluded"
        )
    if quality.brain_covered is not None and quality.brain_covered < _FLAGS.least_covered:
        found.append(
            f"FLAIR: covers {100 * quality.brain_covered:.0f} % of the subject's brain; the rest is not compared with "
            "other visits"
        )
    if quality.note:
        found.append(quality.note)
    return found


def all_qc_flags(qualities: Sequence[VisitQuality]) -> list[str]:
    """QC flags of all visits, each preceded by the label of its visit.

    Parameters
    ----------
    qualities : sequence of VisitQuality

    Returns
    -------
    list of str
        In the order of the visits.
    """
    return [f"{quality.visit}: {message}" for quality in qualities for message in qc_flags(quality)]
