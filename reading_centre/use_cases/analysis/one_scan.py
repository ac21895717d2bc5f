"""Segmentation of the images of one visit, as in the analysis of a subject with this visit only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from mri_pipeline.analysis import preparation, steps
from mri_pipeline.analysis.calibration import acquired_voxel, calibrate_visit, calibrated, require_built_in
from mri_pipeline.analysis.segmenter import run_segmenter
from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.calibration import NOT_CALIBRATED, VisitCalibration
from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import LesionRecord, RegistrationRecord, VisitQuality
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.images import resample
from mri_pipeline.images.register import Registration
from mri_pipeline.lesions.black_holes import DarkTissue
from mri_pipeline.lesions.gel.candidates import GelDetection
from mri_pipeline.lesions.t2.segment import T2Segmentation
from qc.registration import brain_qc_flag, contrast_qc_flag

_Found = TypeVar("_Found", GelDetection, DarkTissue)

_VISIT = "scan"  # label of the only visit; not part of any output


@dataclass(frozen=True)
class SegmentedScan:
    """Result for one visit, on the grid of its FLAIR.

    Parameters
    ----------
    t2 : T2Segmentation
        T2 lesions with their probabilities.
    found : SegmentedVisit
        Enhancing lesions and black holes.
    lesions : LabelImage
        Numbered lesions.
    records : sequence of LesionRecord
        One for each number of `lesions`.
    quality : VisitQuality
        Registrations and QC flags.
    calibration : VisitCalibration
        Empty if it was not asked for.
    """

    t2: T2Segmentation
    found: steps.SegmentedVisit
    lesions: LabelImage
    records: Sequence[LesionRecord]
    quality: VisitQuality
    calibration: VisitCalibration = NOT_CALIBRATED


def segment_images(
    images: Mapping[Contrast, Image],
    *,
    brain_mask: LabelImage | None = None,
    rules: LesionRules,
    work: Path | None = None,
    calibrate: bool = False,
) -> SegmentedScan:
    """Segment one visit, as in the analysis of a subject with this visit only.

    The analysis uses the subject grid. For one visit these are the voxels of the FLAIR around the brain, in RAS order.
    The results are resampled to the grid of the FLAIR. The voxels are identical, unless a 3D FLAIR is finer than 0.8 mm
    and was analysed at 1 mm.

    Parameters
    ----------
    images : mapping of Contrast to Image
        FLAIR and any other contrasts, each on its own grid.
    brain_mask : LabelImage, optional
        On the grid of the FLAIR; computed if not given.
    rules : LesionRules
    work : Path, optional
        Folder for the segmenter, if `rules` names one.
    calibrate : bool
        True: measure the detection rate of simulated lesions (`mri_pipeline.analysis.calibration`).

    Returns
    -------
    SegmentedScan

    Raises
    ------
    GridMismatchError
        If the brain mask is on another grid.
    ImageError
        If two images have the same voxels.
    AnalysisError
        If a contrast cannot be registered to the FLAIR, or the segmenter fails.
    SettingsError
        If a segmenter is named without a working folder, or to be calibrated.
    """
    require_built_in(rules, calibrate=calibrate)
    scan = _prepare(images, brain_mask)
    t2, t2_flag = _t2_lesions(scan.images, brain=scan.brain, tissue=scan.tissue, rules=rules, work=work)
    segmented = steps.segment_visit(
        scan.images, t2.mask, t2.probability, brain=scan.brain, tissue=scan.tissue, rules=rules
    )
    tracking = steps.track(
        [
            VisitMasks(
                _VISIT,
                segmented.t2_lesions,
                segmented.gel.mask if segmented.gel else None,
                segmented.dark.black_holes if segmented.dark else None,
            )
        ],
        tissue_location=scan.tissue.location,
        rules=rules,
        weeks={_VISIT: None},
    )
    (only,) = tracking.visits
    gel_flag = contrast_qc_flag(segmented.contrasts, scan.brain, t1_enhanced=segmented.t1_enhanced)
    message = "; ".join(filter(None, (*scan.qc_flags, t2_flag, gel_flag)))
    grid = images[Contrast.FLAIR].grid
    visit = _visit_on(segmented, grid)
    return SegmentedScan(
        replace(t2, mask=visit.t2_lesions, probability=visit.t2_probability),
        visit,
        resample.resample_nearest(only.lesions, grid),
        only.records,
        VisitQuality(_VISIT, "", scan.skull_stripped, 1.0, scan.registrations, message),
        _calibrate(scan, only.lesions, rules) if calibrate else NOT_CALIBRATED,
    )


def _calibrate(scan: _PreparedScan, lesions: LabelImage, rules: LesionRules) -> VisitCalibration:
    return calibrated(
        _VISIT,
        lambda: calibrate_visit(
            _VISIT,
            scan.images,
            own=lesions.mask,
            brain=scan.brain,
            tissue=scan.tissue,
            rules=rules,
            voxels={contrast: acquired_voxel(*acquired) for contrast, acquired in scan.acquired.items()},
        ),
    )


@dataclass(frozen=True)
class _PreparedScan:
    """Prepared images of the visit with brain mask and tissue maps on the subject grid, and their quality.

    `acquired` has the grid of each scan as acquired, and its transform to the subject grid.
    """

    images: Mapping[Contrast, Image]
    brain: LabelImage
    tissue: TissueMaps
    skull_stripped: bool
    registrations: tuple[RegistrationRecord, ...]
    qc_flags: tuple[str, ...]
    acquired: Mapping[Contrast, tuple[Grid, Affine]]


def _prepare(images: Mapping[Contrast, Image], brain_mask: LabelImage | None) -> _PreparedScan:
    """Register and prepare the images of the visit, and map its tissue. See `segment_images` for the errors."""
    preparation.require_different(images)
    flair = images[Contrast.FLAIR]
    found = preparation.extract_brain(flair)
    brain = found.mask if brain_mask is None else brain_mask.reoriented()
    flair.reoriented().grid.require_same(brain.grid, "brain mask")
    registered = {
        contrast: preparation.register(flair, image, fixed_brain=brain, intra_modal=False)
        for contrast, image in images.items()
        if contrast is not Contrast.FLAIR
    }
    to_flair: dict[Contrast, Affine] = {
        contrast: preparation.require_match(match, f"{contrast.value} to FLAIR")
        for contrast, match in registered.items()
    }
    space = preparation.subject_space(
        flairs=[flair], brains=[brain], templates_to_flair=[found.template_to_image], later_to_first=[]
    )
    brain, _ = preparation.brain_of_visit(space.brain, flair, Affine.identity(), whole_brain=space.whole_brain)
    to_subject = {Contrast.FLAIR: Affine.identity(), **to_flair}
    prepared = preparation.prepare_visit(images, to_subject, brain)
    tissue = preparation.map_subject_tissue(
        flairs=[prepared[Contrast.FLAIR]],
        t1ws=[prepared[contrast] for contrast in (Contrast.T1W, Contrast.T1W_GD) if contrast in prepared][:1],
        brain=space.brain,
        template_to_subject=space.template_to_subject,
    )
    (matched,) = preparation.match_flairs([prepared[Contrast.FLAIR]], brain=space.brain, tissue=tissue)
    matched_images = {**prepared, Contrast.FLAIR: matched}
    return _PreparedScan(
        matched_images,
        brain,
        tissue,
        found.skull_stripped,
        tuple(_record(contrast, match) for contrast, match in registered.items()),
        (brain_qc_flag(found.quality), preparation.partly_scanned(matched_images, brain)),
        {contrast: (image.grid, to_subject[contrast]) for contrast, image in images.items()},
    )


def _record(contrast: Contrast, match: Registration) -> RegistrationRecord:
    return RegistrationRecord(contrast, _VISIT, round(match.quality, 4), match.method.value, failed=match.failed)


def _visit_on(visit: steps.SegmentedVisit, grid: Grid) -> steps.SegmentedVisit:
    """Resample all images of a visit to another grid."""
    return replace(
        visit,
        contrasts={
            contrast: resample.resample(image, grid, order=0) for contrast, image in visit.contrasts.items()
        },
        t2_lesions=resample.resample_nearest(visit.t2_lesions, grid),
        t2_probability=resample.resample(visit.t2_probability, grid, order=0),
        gel=_with_images_on(visit.gel, grid) if visit.gel else None,
        dark=_with_images_on(visit.dark, grid) if visit.dark else None,
    )


def _onto(image: Image | LabelImage, grid: Grid) -> Image | LabelImage:
    """Resample masks and maps to another grid by nearest neighbour; 0 outside their own grid."""
    if isinstance(image, LabelImage):
        return resample.resample_nearest(image, grid)
    return resample.resample(image, grid, order=0)


def _with_images_on(found: _Found, grid: Grid) -> _Found:
    """Resample all images of a result to another grid."""
    held = {field.name: getattr(found, field.name) for field in fields(found)}
    moved: dict[str, Any] = {k: _onto(v, grid) for k, v in held.items() if isinstance(v, Image | LabelImage)}
    return replace(found, **moved)


def _t2_lesions(
    images: Mapping[Contrast, Image],
    *,
    brain: LabelImage,
    tissue: TissueMaps,
    rules: LesionRules,
    work: Path | None,
) -> tuple[T2Segmentation, str]:
    """T2 lesions of the visit, and their QC flag (empty if there is none)."""
    if rules.segmenter is None:
        (found,) = steps.segment_t2([images], brains=[brain], tissue=tissue, rules=rules)
        return found, ""
    if work is None:
        raise SettingsError("expected a folder for the segmenter, found none")
    made = run_segmenter(rules.segmenter, images, brain, work)
    (found,), (note,) = steps.take_t2(
        [made], [images], brains=[brain], tissue=tissue, segmenter=rules.segmenter, rules=rules
    )
    return found, note
