"""FLAIR series in any orientation and storage for a locked trial, and an independent decoding of exported objects."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless
from scipy.spatial.transform import Rotation

from mri_pipeline.convert.dcm2niix import ExpectedGeometry, convert_series
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.itk import save_transform
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.spatial import Affine, Grid
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import group_series
from tests.unit import dicom_factory as factory
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced

OBLIQUE = (0.98480775, 0.17364818, 0.0, -0.16317591, 0.92541658, 0.34202014)
SPEC = replace(factory.FLAIR, shape=(48, 44, 17), pixel=(1.1, 1.0))
SAGITTAL = replace(SPEC, shape=(52, 56, 16), orientation=factory.SAGITTAL, pixel=(1.0, 0.9))
PERMUTED = tuple(np.random.default_rng(1).permutation(SPEC.shape[2]).tolist())
SERIES = {
    "axial": (SPEC, None),
    "sagittal": (SAGITTAL, None),
    "oblique": (replace(SPEC, orientation=OBLIQUE), None),
    "enhanced": (SPEC, EnhancedSpec(PERMUTED, slopes={k: 1 + 0.1 * k for k in PERMUTED})),
    "enhanced oblique": (replace(SPEC, orientation=OBLIQUE), EnhancedSpec(tuple(range(SPEC.shape[2])))),
    "compressed": (SPEC, "RLE"),
    "without dates": (SPEC, "no dates"),
}


def add_flair(trial: Trial, subject: str, visit: str, spec: factory.SeriesSpec, how: object = None) -> None:
    """De-identify, convert and store a FLAIR as at ingest; it covers the subject's grid, turned by 7 degrees."""
    sent, folder = trial.work / f"sent-{visit}", trial.sourcedata.series(subject, visit, Contrast.FLAIR)
    patient = replace(factory.Patient(), study_uid=f"{factory.Patient().study_uid}.{len(visit)}{visit[2:]}")
    if isinstance(how, EnhancedSpec):
        write_enhanced(sent / "one.dcm", spec, texture((spec.shape[0], spec.shape[1], spec.shape[2])), how)
    else:
        for path in factory.write_series(sent, spec, patient):
            dataset = pydicom.dcmread(path)
            if how == "RLE":
                dataset.compress(RLELossless, generate_instance_uid=False)
            if how == "no dates":
                for keyword in [
                    e.keyword for e in dataset if e.VR in {"DA", "TM"} and e.keyword != "PatientBirthDate"
                ]:
                    delattr(dataset, keyword)
                del dataset.FrameOfReferenceUID
            dataset.save_as(path)
    (series,) = group_series(read_headers(sorted(sent.iterdir())).instances)
    deidentify(series.files, folder, Blinding(subject, b"0123456789abcdef"))
    shutil.rmtree(sent)
    found = series.geometry
    expected = ExpectedGeometry(found.columns, found.rows, found.slices, found.spacing_mm, found.corners_ras_mm)
    trial.work.mkdir(exist_ok=True)
    image = convert_series(folder, expected, what="FLAIR").image
    nifti.save_scan(image, trial.rawdata.image(subject, visit, Contrast.FLAIR))
    target = nifti.load_labels(trial.derivatives.space(subject).location).grid
    turn = Affine.identity().matrix.copy()
    turn[:3, :3] = Rotation.from_euler("xyz", [7, -4, 5], degrees=True).as_matrix()
    turn[:3, 3] = centre(target) - turn[:3, :3] @ centre(image.grid)
    save_transform(Affine(turn), trial.derivatives.transform(subject, visit, Contrast.FLAIR))


def centre(grid: Grid) -> np.ndarray:
    return grid.world((np.array([grid.shape], dtype=float) - 1) / 2)[0]


def segments_by_pydicom(path: Path) -> dict[int, tuple[str, np.ndarray]]:
    """Witness: the points of each segment in patient coordinates (LPS, mm) and its label, from the bits of the file.

    Bits are numbered from the least significant one of each byte (PS3.5 8.1.1), pixels placed by PS3.3 C.7.6.2.1.1.
    """
    data = pydicom.dcmread(path)
    rows, columns, count = data.Rows, data.Columns, data.NumberOfFrames
    bits = [(data.PixelData[i // 8] >> (i % 8)) & 1 for i in range(rows * columns * count)]
    frames = np.array(bits, dtype=bool).reshape(count, rows, columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    points: dict[int, list[np.ndarray]] = {item.SegmentNumber: [] for item in data.SegmentSequence}
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        r, c = np.nonzero(frame)
        at = origin + np.outer(c * across, orientation[:3]) + np.outer(r * down, orientation[3:])
        # an object with one segment states it once
        stated = groups if "SegmentIdentificationSequence" in groups else shared
        points[stated.SegmentIdentificationSequence[0].ReferencedSegmentNumber].append(at)
    labels = {item.SegmentNumber: item.SegmentLabel for item in data.SegmentSequence}
    return {number: (labels[number], np.concatenate(found)) for number, found in points.items()}


def source_points(folder: Path) -> np.ndarray:
    """The centre of every pixel of a series in patient coordinates (LPS, mm), shape (n, 3)."""
    points = []
    for path in sorted(folder.iterdir()):
        data = pydicom.dcmread(path)
        r, c = (index.ravel() for index in np.mgrid[: data.Rows, : data.Columns])
        if "NumberOfFrames" in data:
            shared = data.SharedFunctionalGroupsSequence[0]
            spacing = shared.PixelMeasuresSequence[0].PixelSpacing
            orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            groups = data.PerFrameFunctionalGroupsSequence
            origins = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
        else:
            spacing, orientation, origins = (
                data.PixelSpacing,
                data.ImageOrientationPatient,
                [data.ImagePositionPatient],
            )
        axes, (down, across) = np.array(orientation, dtype=float), map(float, spacing)
        for origin in origins:
            at = np.outer(c * across, axes[:3]) + np.outer(r * down, axes[3:])
            points.append(np.array(origin, dtype=float) + at)
    return np.concatenate(points)


def faults(path: Path) -> list[str]:
    """Errors of dciodvfy. Without it the test is skipped, and fails where CI is set."""
    if shutil.which("dciodvfy") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no dciodvfy: apt-get install dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
