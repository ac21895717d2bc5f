"""Steps of the intake without Nipype, for tests of single steps and their order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.convert.dcm2niix import Converted
from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.unpack import UnpackLimits, unpack
from qc.conversion import ScanFile, convert_chosen, deidentify_chosen
from qc.decision import ConvertedUpload, decide_pair, decide_visit, judged_scans
from qc.decision import write_scans as write_decided
from qc.findings import ComplianceReport
from qc.gate import CheckedUpload, choose_series
from qc.measures import measure
from qc.scan_profile import ScanProfile


@dataclass(frozen=True)
class Checked:
    """A checked upload, and the folder for its files."""

    upload: CheckedUpload
    work_dir: Path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.upload, name)


@dataclass(frozen=True)
class Written:
    """What was stored."""

    scans: Mapping[Contrast, Path]
    shifted_date: dt.date | None
    pixels_keys: Mapping[str, str]
    compliance: ComplianceReport
    profile: ScanProfile


def check_upload(upload: Path, *, protocol: Protocol, work_dir: Path, secret: bytes, **more: Any) -> Checked:
    """Unpack, read, choose."""
    limits = UnpackLimits(max_bytes=protocol.max_upload_mb * 1_000_000)
    unpacked = unpack(upload, work_dir / "files", limits)
    reading = read_headers(unpacked.files, key=secret)
    return Checked(choose_series(reading, not_kept=unpacked.left_out, protocol=protocol, **more), work_dir)


def convert_checked(checked: Checked, blinding: Blinding) -> dict[Contrast, Converted]:
    """De-identify, convert."""
    clean = deidentify_chosen(checked.upload, checked.work_dir / "clean", blinding)
    return dict(convert_chosen(checked.upload, clean))


def write_scans(
    checked: Checked, *, raw: RawDataset, protocol: Protocol, visit: str, blinding: Blinding, replace: bool = False
) -> Written:
    """Convert, verify, measure, decide, write."""
    converted = convert_checked(checked, blinding)
    work = checked.work_dir
    files = {
        contrast: ScanFile(
            nifti.save_scan(scan.image, work / f"{contrast.value}.nii"),
            scan.sidecar,
            work / "clean" / contrast.value,
        )
        for contrast, scan in converted.items()
    }
    decision = decide_pair(checked.upload, {contrast: scan.image for contrast, scan in converted.items()})
    measures = {
        contrast: measure(converted[source].image, contrast) for contrast, source in judged_scans(decision).items()
    }
    decided = decide_visit(ConvertedUpload(checked.upload, decision, files, measures), blinding)
    scans = write_decided(decided, raw=raw, protocol=protocol, subject=blinding.code, visit=visit, replace=replace)
    return Written(scans, decided.shifted_date, decided.pixels_keys, decided.compliance, decided.profile)
