"""Codes of the exported objects. All are codes of the DICOM standard (PS3.16, 2024) or of schemes that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.sr.coding import Code

from mri_pipeline.core.mask_label import MaskLabel

ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""Segmented property category (CID 7150)."""

BRAIN: Final = Code("12738006", "SCT", "Brain")
"""Finding site and anatomic region."""

VOLUME: Final = Code("118565006", "SCT", "Volume")

NUMBER: Final = Code("246206008", "SCT", "Number of lesions")
"""SNOMED CT observable entity."""

MM3: Final = Code("mm3", "UCUM", "cubic millimeter")

ML: Final = Code("mL", "UCUM", "milliliter")

NO_UNITS: Final = Code("1", "UCUM", "no units")

PROCEDURE: Final = Code("25056-3", "LN", "MRI unspecified body region")
"""Procedure reported (CID 100)."""

FAMILY: Final = Code("123110", "DCM", "Artificial Intelligence")
"""Family of the algorithm that proposed the lesions (CID 7162)."""


@dataclass(frozen=True)
class Kind:
    """A kind of lesion: one segmentation object.

    Parameters
    ----------
    name : str
        In labels and descriptions.
    code : Code
        Segmented property type, and finding in the report.
    content_label : str
        DICOM code string.
    file : str
        Name of the file of its segmentation.
    counted, volume : str
        Columns of lesion_timepoints.csv.
    lesion_count, lesion_volume : str
        Columns of lesions.csv.
    """

    name: str
    code: Code
    content_label: str
    file: str
    counted: str
    volume: str
    lesion_count: str
    lesion_volume: str


KINDS: Final = {
    MaskLabel.T2_LESION: Kind(
        "T2 lesion", Code("110702", "DCM", "White Matter T2 Hyperintensity"), "T2_LESIONS", "t2_lesions_seg.dcm",
        "t2_count", "t2_volume_ml", "t2_lesion", "volume_mm3",
    ),
    MaskLabel.GEL: Kind(
        "GEL", Code("C113842", "NCIt", "Enhancing Lesion"), "GEL", "gel_seg.dcm",
        "gel_count", "gel_volume_ml", "gel_count", "gel_volume_mm3",
    ),
    MaskLabel.BLACK_HOLE: Kind(
        "Black hole", Code("110701", "DCM", "White Matter T1 Hypointensity"), "BLACK_HOLES", "black_holes_seg.dcm",
        "bh_count", "bh_volume_ml", "bh_count", "bh_volume_mm3",
    ),
}  # fmt: skip
"""By mask: CID 7140 for T2 lesions and black holes, CID 7159 for enhancing lesions."""
