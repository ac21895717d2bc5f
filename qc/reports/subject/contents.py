"""Contents of the report of one subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mri_pipeline.core.calibration import NOT_CALIBRATED, VisitCalibration
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import ScanStatus, SubjectResult
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast
from qc.reports.read_attribution import AUTOMATIC, ReadAttribution


@dataclass(frozen=True)
class VisitReport:
    """One planned visit in the report.

    Parameters
    ----------
    visit : str
    week : int or None
    status : ScanStatus
        The other fields are empty unless it is *analysed*.
    attribution : ReadAttribution
        Status of its masks, and the reader who confirmed them.
    images : mapping of Contrast to Image
        In the subject's space, normalised (white matter 1); FLAIR for every analysed visit.
    brain : LabelImage or None
    masks : mapping of MaskLabel to LabelImage
        Available masks of T2 lesions, GEL, black holes, new and enlarging T2 lesions.
    lesions : LabelImage or None
        Numbered lesions, with the numbers of the result.
    native_flair : Image or None
        The FLAIR as acquired, on its own grid, for the image "before registration".
    calibration : VisitCalibration
        Detection rates of simulated lesions in its scans.
    """

    visit: str
    week: int | None = None
    status: ScanStatus = ScanStatus.ANALYSED
    attribution: ReadAttribution = AUTOMATIC
    images: Mapping[Contrast, Image] = field(default_factory=dict)
    brain: LabelImage | None = None
    masks: Mapping[MaskLabel, LabelImage] = field(default_factory=dict)
    lesions: LabelImage | None = None
    native_flair: Image | None = None
    calibration: VisitCalibration = NOT_CALIBRATED

    @property
    def shown(self) -> bool:
        """True if the report shows images of this visit."""
        return self.status is ScanStatus.ANALYSED and Contrast.FLAIR in self.images

    @property
    def brain_mask(self) -> LabelImage:
        """The brain mask, or all positive voxels if none is given."""
        flair = self.images[Contrast.FLAIR]
        return self.brain if self.brain is not None else LabelImage(flair.data > 0, flair.grid)

    @property
    def numbered(self) -> LabelImage:
        """Numbered lesions; empty if not given."""
        grid = self.images[Contrast.FLAIR].grid
        return self.lesions if self.lesions is not None else LabelImage(np.zeros(grid.shape, np.uint8), grid)


@dataclass(frozen=True)
class SubjectReport:
    """Contents of a report.

    Parameters
    ----------
    result : SubjectResult
    visits : sequence of VisitReport
        All planned visits in their order, including missing ones.
    protocol : str
        Name of the protocol.
    protocol_digest : str
        `provenance.protocol_digest` of the settings of the analysis.
    software : mapping of str to str
        `provenance.software`.
    order_source : str
        Source of the order of the visits.
    ignored : sequence of str
        Anatomical files that are not used, each with the reason.
    digest : str
        Digest of everything that the report shows (`qc.reports.subject.files.report_digest`). By it a later command
        sees whether the report is still true.
    """

    result: SubjectResult
    visits: Sequence[VisitReport]
    protocol: str
    protocol_digest: str
    software: Mapping[str, str]
    order_source: str = "protocol"
    ignored: Sequence[str] = ()
    digest: str = ""
