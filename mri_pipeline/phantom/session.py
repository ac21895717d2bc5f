"""One examination as DICOM: a localizer and all series of a visit, in a realistic order and timing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.contrast import T1Technique
from mri_pipeline.phantom.dicom import Examination, Patient, write_series
from mri_pipeline.phantom.scanner import Dimension, Prescription, ScannerModel, Vendor
from mri_pipeline.phantom.subject import VisitScan

_MINUTES_BETWEEN_SERIES = 4.0
_MINUTES_AFTER_INJECTION = 7.0
_LOCALIZER_NAMES = {Vendor.SIEMENS: "localizer", Vendor.GE: "3Plane Loc", Vendor.PHILIPS: "SURVEY"}
_LOCALIZER_SLICES = 3


def localizer(image: Image, acquisition: Prescription, scanner: ScannerModel) -> tuple[Image, Prescription]:
    """A scout of three coarse slices, made from a series of the same visit.

    Parameters
    ----------
    image : Image
    acquisition : Prescription
        Of `image`.
    scanner : ScannerModel

    Returns
    -------
    image : Image
    acquisition : Prescription
    """
    depth = image.grid.shape[2]
    step = max(1, depth // (_LOCALIZER_SLICES + 1))
    data = image.data[::2, ::2, step : step * _LOCALIZER_SLICES + 1 : step]
    affine = image.grid.affine @ np.diag([2.0, 2.0, float(step), 1.0])
    affine[:3, 3] += image.grid.affine[:3, 2] * step
    scout = Image(data, Grid(data.shape, affine))
    prescription = replace(
        acquisition, description=_LOCALIZER_NAMES[scanner.vendor], dimension=Dimension.TWO_D,
        columns=data.shape[0], rows=data.shape[1], in_plane_mm=scout.grid.spacing_mm[0], slices=data.shape[2],
        thickness_mm=7.0, spacing_mm=scout.grid.spacing_mm[2], repetition_ms=8.6, echo_ms=4.0, inversion_ms=None,
        flip_degrees=20.0, echo_train=1, scanning_sequence="GR", sequence_variant="SP",
        sequence_name="*fl2d1" if scanner.vendor is Vendor.SIEMENS else "", technique=T1Technique.GRADIENT_ECHO,
    )  # fmt: skip
    return scout, prescription


def _series_number(scanner: ScannerModel, position: int) -> int:
    return 100 * position + 1 if scanner.vendor is Vendor.PHILIPS else position


def write_session(
    scan: VisitScan,
    *,
    scanner: ScannerModel,
    patient: Patient,
    study: Examination,
    out_dir: Path,
    scout: bool = True,
) -> list[Path]:
    """Write a visit as a site would upload it: everything of one examination below one folder.

    Parameters
    ----------
    scan : VisitScan
    scanner : ScannerModel
    patient : Patient
    study : Examination
        Its time of injection is replaced.
    out_dir : Path
        Folder of the export.
    scout : bool
        True if a localizer is acquired first, as in every real examination.

    Returns
    -------
    list of Path
        All files, series after series.
    """
    paths: list[Path] = []
    # contrast is given when all series before it are done
    order = sorted(scan.images, key=lambda contrast: contrast is Contrast.T1W_GD)
    before = sum(contrast is not Contrast.T1W_GD for contrast in order)
    study = replace(study, injected_after=timedelta(minutes=_MINUTES_BETWEEN_SERIES * before + 2.0))
    if scout and order:
        source = order[0]
        image, prescription = localizer(scan.images[source], scan.acquisitions[source], scanner)
        paths += write_series(
            image, contrast=source, scanner=scanner, patient=patient, study=study, out_dir=out_dir,
            series_number=_series_number(scanner, 1), acquisition=prescription, contrast_agent=False,
        )  # fmt: skip
    for position, contrast in enumerate(order):
        started = study.started + timedelta(minutes=1.0 + _MINUTES_BETWEEN_SERIES * position)
        if contrast is Contrast.T1W_GD:
            started = study.injected_at + timedelta(minutes=_MINUTES_AFTER_INJECTION)
        paths += write_series(
            scan.images[contrast], contrast=contrast, scanner=scanner, patient=patient, study=study,
            out_dir=out_dir, series_number=_series_number(scanner, position + 2), started=started,
            acquisition=scan.acquisitions[contrast],
        )  # fmt: skip
    return paths
