"""Scanners and scan protocols: geometry, timing and the manufacturers' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from mri_pipeline.core.spatial import Affine, Grid
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.contrast import T1Technique


class Vendor(StrEnum):
    """A manufacturer and its DICOM conventions."""

    SIEMENS = "SIEMENS"
    GE = "GE MEDICAL SYSTEMS"
    PHILIPS = "Philips Medical Systems"


class Dimension(StrEnum):
    """Whether slices or a slab are excited; the value is DICOM's MRAcquisitionType."""

    TWO_D = "2D"
    THREE_D = "3D"


class Plane(StrEnum):
    """The plane of the slices; the value is the axis order of the stored array."""

    AXIAL = "LPS"
    SAGITTAL = "PIL"


@dataclass(frozen=True)
class ScannerModel:
    """One scanner of a site.

    Parameters
    ----------
    vendor : Vendor
    model, software : str
        As in the header.
    field_strength_t : float
        As in the header.
    white_matter_level : float
        Stored intensity of white matter; scanners differ.
    institution, station, serial_number : str
        Made up; they are what de-identification must remove.
    """

    vendor: Vendor
    model: str
    field_strength_t: float
    software: str
    white_matter_level: float = 300.0
    institution: str = "Phantom Hospital"
    station: str = "MRC00000"
    serial_number: str = "00000"


SIEMENS_SKYRA = ScannerModel(
    Vendor.SIEMENS, "Skyra", 3.0, "syngo MR E11", 280.0, "Klinikum Musterstadt", "AWP45123", "45123"
)
GE_MR750 = ScannerModel(Vendor.GE, "DISCOVERY MR750", 3.0, "27\\LX\\MR Software release:DV25.0_R02_1549.b", 2400.0,
                        "General Hospital of Exampleville", "GEHCMR01", "000000GEMR750")  # fmt: skip
PHILIPS_ACHIEVA = ScannerModel(
    Vendor.PHILIPS, "Achieva", 1.5, "5.3.1\\5.3.1.0", 650.0, "Ziekenhuis Voorbeeld", "ACHIEVA1", "17205"
)
PHILIPS_PANORAMA = ScannerModel(
    Vendor.PHILIPS, "Panorama HFO", 1.0, "2.5.3\\2.5.3.4", 420.0, "Ospedale Esempio", "PANORAMA", "39014"
)
"""A 1.0 T scanner, below the trial's limit."""


@dataclass(frozen=True)
class Prescription:
    """Prescription of one series.

    Parameters
    ----------
    contrast : Contrast
    description : str
        Name of the series.
    dimension : Dimension
    plane : Plane
    columns, rows, slices : int
        Matrix and number of slices.
    in_plane_mm, thickness_mm : float
        In-plane voxel size and slice thickness.
    spacing_mm : float
        Distance of slice centres; above `thickness_mm` there is a gap.
    repetition_ms, echo_ms : float
        TR and TE.
    inversion_ms : float or None
        TI; None without an inversion pulse.
    flip_degrees : float
    echo_train : int
        Length of the echo train.
    scanning_sequence, sequence_variant, sequence_name : str
        As in the DICOM header, values separated by backslashes.
    technique : T1Technique
    """

    contrast: Contrast
    description: str
    dimension: Dimension
    plane: Plane
    columns: int
    rows: int
    in_plane_mm: float
    slices: int
    thickness_mm: float
    spacing_mm: float
    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None
    flip_degrees: float
    echo_train: int
    scanning_sequence: str
    sequence_variant: str
    sequence_name: str
    technique: T1Technique = T1Technique.SPIN_ECHO

    def grid(self, prescribed_to_scanner: Affine) -> Grid:
        """The scan's grid in the scanner's space.

        Parameters
        ----------
        prescribed_to_scanner : Affine
            From the space of the prescription, in which the grid is centred on the brain (sagittal: on the head).

        Returns
        -------
        Grid
        """
        shape = (self.columns, self.rows, self.slices)
        spacing = (self.in_plane_mm, self.in_plane_mm, self.spacing_mm)
        base = np.zeros((4, 4))
        base[3, 3] = 1.0
        directions = {"L": (-1, 0, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
        for axis, code in enumerate(self.plane.value):
            base[:3, axis] = np.array(directions[code], dtype=float) * spacing[axis]
        centre = np.array(_BRAIN_CENTRE_MM)
        if self.plane is Plane.SAGITTAL:
            centre = np.array(_HEAD_CENTRE_MM)
        base[:3, 3] = centre - base[:3, :3] @ ((np.array(shape) - 1) / 2.0)
        return Grid(shape, prescribed_to_scanner.matrix @ base)


_BRAIN_CENTRE_MM = (0.0, -18.0, 7.0)
_HEAD_CENTRE_MM = (0.0, -18.0, -4.0)

_NAMES: Mapping[tuple[Vendor, Dimension], Mapping[Contrast, str]] = {
    (Vendor.SIEMENS, Dimension.TWO_D): {
        Contrast.FLAIR: "t2_tirm_tra_dark-fluid_3mm", Contrast.T1W: "t1_se_tra_3mm",
        Contrast.T1W_GD: "t1_se_tra_3mm_KM", Contrast.T2W: "t2_tse_tra_3mm", Contrast.PDW: "pd_tse_tra_3mm",
    },
    (Vendor.SIEMENS, Dimension.THREE_D): {
        Contrast.FLAIR: "t2_space_dark-fluid_sag_p2_iso", Contrast.T1W: "t1_mprage_sag_p2_iso",
        Contrast.T1W_GD: "t1_mprage_sag_p2_iso_KM", Contrast.T2W: "t2_space_sag_p2_iso",
    },
    (Vendor.GE, Dimension.TWO_D): {
        Contrast.FLAIR: "Ax T2 FLAIR", Contrast.T1W: "Ax T1 SE", Contrast.T1W_GD: "Ax T1 SE +C",
        Contrast.T2W: "Ax T2 FSE", Contrast.PDW: "Ax PD FSE",
    },
    (Vendor.GE, Dimension.THREE_D): {
        Contrast.FLAIR: "Sag CUBE T2 FLAIR", Contrast.T1W: "Sag 3D T1 BRAVO",
        Contrast.T1W_GD: "Sag 3D T1 BRAVO +C", Contrast.T2W: "Sag CUBE T2",
    },
    (Vendor.PHILIPS, Dimension.TWO_D): {
        Contrast.FLAIR: "T2W_FLAIR_TRA", Contrast.T1W: "T1W_SE_TRA", Contrast.T1W_GD: "T1W_SE_TRA GD",
        Contrast.T2W: "T2W_TSE_TRA", Contrast.PDW: "PDW_TSE_TRA",
    },
    (Vendor.PHILIPS, Dimension.THREE_D): {
        Contrast.FLAIR: "3D_Brain_VIEW_FLAIR", Contrast.T1W: "sT1W_3D_TFE", Contrast.T1W_GD: "sT1W_3D_TFE GD",
        Contrast.T2W: "3D_Brain_VIEW_T2",
    },
}  # fmt: skip

_MATRIX_2D: Mapping[Vendor, tuple[int, float]] = {
    Vendor.SIEMENS: (256, 0.9375), Vendor.GE: (256, 0.8984), Vendor.PHILIPS: (256, 0.8984),
}  # fmt: skip


@dataclass(frozen=True)
class _Timing:
    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None
    flip_degrees: float
    echo_train: int


_TIMING_2D: Mapping[Contrast, _Timing] = {
    Contrast.FLAIR: _Timing(9000.0, 94.0, 2500.0, 150.0, 16),
    Contrast.T1W: _Timing(550.0, 9.1, None, 90.0, 1),
    Contrast.T1W_GD: _Timing(550.0, 9.1, None, 90.0, 1),
    Contrast.T2W: _Timing(4800.0, 98.0, None, 150.0, 15),
    Contrast.PDW: _Timing(2800.0, 14.0, None, 150.0, 6),
}
_TIMING_3D: Mapping[Contrast, _Timing] = {
    Contrast.FLAIR: _Timing(5000.0, 388.0, 1800.0, 120.0, 251),
    Contrast.T1W: _Timing(2300.0, 2.98, 900.0, 9.0, 1),
    Contrast.T1W_GD: _Timing(2300.0, 2.98, 900.0, 9.0, 1),
    Contrast.T2W: _Timing(3200.0, 409.0, None, 120.0, 282),
}
_SEQUENCE_NAMES: Mapping[tuple[Vendor, Dimension], Mapping[Contrast, str]] = {
    (Vendor.SIEMENS, Dimension.TWO_D): {
        Contrast.FLAIR: "*tir2d1_16", Contrast.T1W: "*se2d1", Contrast.T1W_GD: "*se2d1",
        Contrast.T2W: "*tse2d1_15", Contrast.PDW: "*tse2d1_6",
    },
    (Vendor.SIEMENS, Dimension.THREE_D): {
        Contrast.FLAIR: "*spcir_251ns", Contrast.T1W: "*tfl3d1_16ns", Contrast.T1W_GD: "*tfl3d1_16ns",
        Contrast.T2W: "*spc_282ns",
    },
}  # fmt: skip


def _scanning_sequence(vendor: Vendor, contrast: Contrast, dimension: Dimension) -> tuple[str, str]:
    """ScanningSequence and SequenceVariant of each manufacturer."""
    gradient = dimension is Dimension.THREE_D and contrast in (Contrast.T1W, Contrast.T1W_GD)
    if gradient:
        return {
            Vendor.SIEMENS: ("GR\\IR", "SK\\SP\\MP"),
            Vendor.GE: ("GR", "SS\\SP\\SK"),
            Vendor.PHILIPS: ("GR", "MP"),
        }[vendor]
    spin_echo = contrast in (Contrast.T1W, Contrast.T1W_GD)
    if contrast is Contrast.FLAIR:
        return {
            Vendor.SIEMENS: ("SE\\IR", "SK\\SP\\MP"),
            Vendor.GE: ("SE\\IR", "SK"),
            Vendor.PHILIPS: ("IR", "SK"),
        }[vendor]
    return "SE", "NONE" if spin_echo and vendor is not Vendor.SIEMENS else "SK"


def acquisitions(scanner: ScannerModel, dimension: Dimension = Dimension.TWO_D) -> dict[Contrast, Prescription]:
    """Series of a scanner at every visit, in the order of scanning.

    Contrast is given before the last series; T2 and FLAIR may lie in between (`trial` sets the times).

    Parameters
    ----------
    scanner : ScannerModel
    dimension : Dimension

    Returns
    -------
    dict of Contrast to Prescription
    """
    three = dimension is Dimension.THREE_D
    timing = _TIMING_3D if three else _TIMING_2D
    result = {}
    for contrast in (Contrast.T1W, Contrast.T2W, Contrast.FLAIR, Contrast.T1W_GD):
        times = timing[contrast]
        matrix, in_plane = (256, 1.0) if three else _MATRIX_2D[scanner.vendor]
        scanning, variant = _scanning_sequence(scanner.vendor, contrast, dimension)
        names = _SEQUENCE_NAMES.get((scanner.vendor, dimension), {})
        gradient = three and contrast in (Contrast.T1W, Contrast.T1W_GD)
        result[contrast] = Prescription(
            contrast=contrast,
            description=_NAMES[scanner.vendor, dimension][contrast],
            dimension=dimension,
            plane=Plane.SAGITTAL if three else Plane.AXIAL,
            columns=matrix,
            rows=matrix,
            in_plane_mm=in_plane,
            slices=192 if three else 54,
            thickness_mm=1.0 if three else 3.0,
            spacing_mm=1.0 if three else 3.0,
            repetition_ms=times.repetition_ms,
            echo_ms=times.echo_ms,
            inversion_ms=times.inversion_ms,
            flip_degrees=times.flip_degrees,
            echo_train=times.echo_train,
            scanning_sequence=scanning,
            sequence_variant=variant,
            sequence_name=names.get(contrast, ""),
            technique=T1Technique.GRADIENT_ECHO if gradient else T1Technique.SPIN_ECHO,
        )
    return result


def with_gap(acquisition: Prescription, gap_mm: float) -> Prescription:
    """The same series with gaps between slices: fewer slices over the same length.

    Parameters
    ----------
    acquisition : Prescription
    gap_mm : float

    Returns
    -------
    Prescription
    """
    spacing = acquisition.thickness_mm + gap_mm
    slices = round(acquisition.slices * acquisition.spacing_mm / spacing)
    return replace(acquisition, spacing_mm=spacing, slices=slices)
