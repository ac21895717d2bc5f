"""Segmentation of NIfTI files without a trial: masks on the grid of the FLAIR."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from mri_pipeline.analysis.calibration import calibration_text
from mri_pipeline.core import provenance
from mri_pipeline.core.calibration import CalibrationSettings
from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.scoring.detection import smallest_shown, usual_contrast
from mri_pipeline.tables.io import csv_text
from mri_pipeline.tables.rows import lesion_row
from qc.registration import forms_qc_flag, qc_flags
from reading_centre.use_cases.analysis.mask_pairs import SEGMENTED
from reading_centre.use_cases.analysis.one_scan import SegmentedScan, segment_images

_MASKS = tuple(SEGMENTED.values())
_MAPS = ("t2_probability", "gel_probability")
_NUMBERED, _TABLE, _PROVENANCE = "lesions", "lesions.csv", "provenance.json"
_CALIBRATION = "calibration.csv"
_COLUMNS = (
    "lesion_id", "volume_mm3", "x_mm", "y_mm", "z_mm", "location", "enhancing", "black_hole",
)  # fmt: skip


def segment_files(
    *,
    flair: Path,
    t1: Path | None,
    t1_gd: Path | None,
    t2: Path | None,
    brain_mask: Path | None,
    out: Path,
    segmenter: Segmenter | None = None,
    calibrate: bool = False,
    rules: LesionRules | None = None,
) -> dict[str, float | int | str | None]:
    """Segment NIfTI files and write the masks.

    A `segmenter` works in a new folder ``out/segmenter-…``, which is kept if it fails. Files of an earlier run in `out`
    are removed first.

    Parameters
    ----------
    flair, t1, t1_gd, t2, brain_mask : Path or None
        NIfTI files; all except `flair` may be None.
    out : Path
        Output folder; created if it does not exist.
    segmenter : Segmenter, optional
        External T2 segmenter.
    calibrate : bool
        True: write the detection rates of simulated lesions to ``calibration.csv``.
    rules : LesionRules, optional
        Of a trial, with its segmenter. Default: the default rules with `segmenter`.

    Returns
    -------
    dict
        Summary: number of T2 lesions, volumes in mL, quality of the registrations (0 to 1), QC flags. None means "not
        known". With `calibrate`, also the smallest lesion of the middle contrast that the scan shows, in mm; None if it
        shows none.

    Raises
    ------
    ImageError
        If a file cannot be used (see `mri_pipeline.core.io.nifti`), or the brain mask has several values.
    GridMismatchError, AnalysisError
        As `segment_images`.
    """
    files = {Contrast.FLAIR: flair, Contrast.T1W: t1, Contrast.T1W_GD: t1_gd, Contrast.T2W: t2}
    present = {contrast: path for contrast, path in files.items() if path is not None}
    images = {contrast: nifti.load_scan(path) for contrast, path in present.items()}
    forms = [forms_qc_flag(contrast, nifti.form_difference_mm(path)) for contrast, path in present.items()]
    mask = _brain_mask(brain_mask) if brain_mask is not None else None
    out.mkdir(
        parents=True, exist_ok=True
    )  # before the work, so that a folder that cannot be created is reported at once
    for name in (*(f"{made}.nii.gz" for made in (*_MASKS, *_MAPS, _NUMBERED)), _TABLE, _PROVENANCE, _CALIBRATION):
        (out / name).unlink(missing_ok=True)  # remove files of an earlier run
    rules = rules or LesionRules(segmenter=segmenter)
    segmenter = rules.segmenter
    work = Path(tempfile.mkdtemp(prefix="segmenter-", dir=out)) if segmenter else None
    scan = segment_images(images, brain_mask=mask, rules=rules, work=work, calibrate=calibrate)
    if work:
        shutil.rmtree(work)
    masks = _write(scan, out, rules, forms_of=flair)
    if calibrate:
        write_atomic(out / _CALIBRATION, calibration_text([scan.calibration]))
    return {
        "t2_count": int(scan.t2.mask.data.max()),
        **{f"{name}_ml": None if m is None else round(m.volume_mm3 / 1000, 4) for name, m in masks.items()},
        "skull_stripped": bool(scan.quality.skull_stripped),
        **{f"registration_{r.contrast.value}": r.quality for r in scan.quality.registrations},
        **(_smallest(scan) if calibrate else {}),
        **({"t2_segmenter": f"{segmenter.name} {segmenter.version}"} if segmenter else {}),
        "qc_flags": "; ".join(filter(None, (*qc_flags(scan.quality), *forms, scan.calibration.note))) or None,
    }


def _smallest(scan: SegmentedScan) -> dict[str, float | None]:
    settings = CalibrationSettings()
    smallest = {
        kind: smallest_shown(group, settings)
        for kind, group in usual_contrast(scan.calibration.rates, settings).items()
    }
    return {
        f"{kind.value.lower()}_smallest_shown_mm": None if one is None else one.diameter_mm
        for kind, one in smallest.items()
    }


def _brain_mask(path: Path) -> LabelImage:
    """Load a brain mask.

    Raises
    ------
    ImageError
        If it has several labels, or none.
    """
    mask = nifti.load_labels(path)
    if (values := len(np.unique(mask.data[mask.mask]))) != 1:
        raise ImageError(
            f"brain mask: expected 0 outside and one other value in the brain, found {values} other values",
            hint="--brain-mask takes a mask, not a scan and not a map of several regions",
        )
    return mask


def _write(scan: SegmentedScan, out: Path, rules: LesionRules, *, forms_of: Path) -> dict[str, LabelImage | None]:
    """Write images, table and provenance; return the masks by name. `forms_of` is the file of the FLAIR."""
    gel, dark = scan.found.gel, scan.found.dark
    found = (scan.t2.mask, gel.mask if gel else None, dark.black_holes if dark else None)
    masks = dict(zip(_MASKS, found, strict=True))
    maps = dict(zip(_MAPS, (scan.t2.probability, gel.probability if gel else None), strict=True))
    for name, made in (masks | maps | {_NUMBERED: scan.lesions}).items():
        if made is not None:
            nifti.save(made, out / f"{name}.nii.gz", forms_of=forms_of)
    rows = [lesion_row("", record) for record in scan.records]
    write_atomic(out / _TABLE, csv_text(_COLUMNS, rows))
    made_by = {"t2_segmenter": " ".join(provenance.t2_segmenter(rules)), "software": provenance.software()}
    write_atomic(out / _PROVENANCE, json.dumps(made_by, indent=2) + "\n")
    return masks
