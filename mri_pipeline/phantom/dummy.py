"""Simulated dummy runs: a good one, and one for each fault that the check must detect."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.acquire import Quality
from mri_pipeline.phantom.dicom import Examination, Patient
from mri_pipeline.phantom.scanner import (
    SIEMENS_SKYRA,
    Dimension,
    Prescription,
    ScannerModel,
    acquisitions,
    with_gap,
)
from mri_pipeline.phantom.session import write_session
from mri_pipeline.phantom.subject import SimulatedSubject, simulate_visit


class DummyRunFault(StrEnum):
    """Fault of a dummy run."""

    GOOD = "good"
    LOW_FIELD = "low_field"
    NO_FLAIR = "no_flair"
    NO_CONTRAST = "no_contrast"
    NOISY = "noisy"
    MOTION = "motion"
    GAP = "gap"
    THICK = "thick"

    @property
    def reason(self) -> str:
        """Reason for the reading centre's objection; empty for the good one."""
        return _REASONS[self]


_REASONS = {
    DummyRunFault.GOOD: "",
    DummyRunFault.LOW_FIELD: "field strength below 1.5 T",
    DummyRunFault.NO_FLAIR: "FLAIR is missing",
    DummyRunFault.NO_CONTRAST: "post-contrast T1 is missing",
    DummyRunFault.NOISY: "signal-to-noise ratio too low",
    DummyRunFault.MOTION: "the volunteer moved",
    DummyRunFault.GAP: "gap of 1.5 mm between slices",
    DummyRunFault.THICK: "slices of 5 mm",
}
_LOW_FIELD_T = 1.0


def _prescribed(run: DummyRunFault, scanner: ScannerModel, dimension: Dimension) -> dict[Contrast, Prescription]:
    series = acquisitions(scanner, dimension)
    if run is DummyRunFault.NO_FLAIR:
        series.pop(Contrast.FLAIR)
    elif run is DummyRunFault.NO_CONTRAST:
        series.pop(Contrast.T1W_GD)
    elif run is DummyRunFault.GAP:
        series = {contrast: with_gap(item, 1.5) for contrast, item in series.items()}
    elif run is DummyRunFault.THICK:
        series = {c: replace(a, thickness_mm=5.0, spacing_mm=5.0, slices=33) for c, a in series.items()}
    return series


def write_dummy_run(
    volunteer: SimulatedSubject,
    out_dir: Path,
    *,
    run: DummyRunFault = DummyRunFault.GOOD,
    scanner: ScannerModel = SIEMENS_SKYRA,
    dimension: Dimension = Dimension.TWO_D,
    seed: int = 0,
) -> list[Path]:
    """Scan a volunteer and write the upload.

    Parameters
    ----------
    volunteer : SimulatedSubject
        Its first visit is scanned. Without lesions (``plans=()``): healthy.
    out_dir : Path
    run : DummyRunFault
        `LOW_FIELD` sets 1.0 T whatever the scanner; gap and thick slices are for 2D.
    scanner : ScannerModel
    dimension : Dimension
    seed : int
        Of the scanning session.

    Returns
    -------
    list of Path
        All files, series after series.
    """
    if run is DummyRunFault.LOW_FIELD:
        scanner = replace(scanner, field_strength_t=_LOW_FIELD_T)
    quality = {DummyRunFault.NOISY: Quality(snr=4.0), DummyRunFault.MOTION: Quality(motion_mm=6.0)}.get(run)
    scan = simulate_visit(
        volunteer, volunteer.visits[0], scanner=scanner, quality=quality, seed=seed,
        series=_prescribed(run, scanner, dimension),
    )  # fmt: skip
    patient = Patient("Volunteer^Vera", "VOL001", date(1990, 5, 17))
    study = Examination(datetime(2019, 1, 15, 14, 30), description="Dummy run MS trial", accession="DUMMY01")  # noqa: DTZ001
    return write_session(scan, scanner=scanner, patient=patient, study=study, out_dir=out_dir)
