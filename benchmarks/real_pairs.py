"""Change between two visits of real patients against expert masks, and the cost of the whole analysis.

    python benchmarks/real_pairs.py DATA WORK [--patients 01 03 19] [--nprocs 2]

DATA is the folder of the public data sets (docs/accuracy.md); its ``ljubljana/longitudinal`` is used (Lesjak et al.,
Neuroinformatics 2016, CC-BY). Each patient is written as a BIDS dataset of two sessions and analysed with
``mri-pipeline bids``. The expert mask holds every change (new, enlarging, shrinking, vanished) without its sign. It is
transformed to the subject's grid with the authors' transform and ours, and compared with T2increase and T2decrease
together. Figures and a review of the misses: `accuracy/README.md`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from registration.labels import resample_labels

from mri_pipeline.core.components import ConnectedComponents
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import BoolArray, LabelImage
from mri_pipeline.core.visits import Contrast
from reading_centre.use_cases.analysis.bids.app import run_participants
from reading_centre.use_cases.analysis.bids.jobs import ScanSelection
from workflows.executors import Execution
from workflows.outcome import Outcome

VISITS = ("1", "2")
NAMES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1W", Contrast.T2W: "T2W"}
RECALL_FLOOR_MM3 = 50.0  # smaller changes are within one or two voxels of these scans


def lay_out(source: Path, bids: Path, patient: str) -> None:
    """Copy one patient's scans to BIDS names."""
    raw = RawDataset(bids)
    for visit in VISITS:
        for contrast, name in NAMES.items():
            scan = source / f"patient{patient}" / f"study{visit}_{name}.nii.gz"
            if scan.is_file():
                target = raw.image(patient, visit, contrast)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(scan, target)
    description = {"Name": "Serial scans", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (bids / "dataset_description.json").write_text(json.dumps(description))


def truth_on_grid(source: Path, derivatives: DerivativeDataset, patient: str) -> LabelImage:
    """Expert mask on the subject's grid."""
    folder = source / f"patient{patient}"
    flair_to_common = itk.load_transform(next(folder.glob("study1_FLAIR_to_common_space.txt")))
    flair_to_subject = itk.load_transform(derivatives.transform(patient, "1", Contrast.FLAIR))
    grid = nifti.load_labels(derivatives.brain_mask(patient, "1")).grid
    return resample_labels(
        nifti.load_labels(folder / "gt.nii.gz"), grid, flair_to_subject @ flair_to_common.inverse()
    )


def dice(a: BoolArray, b: BoolArray) -> float:
    """Overlap of two masks; 1 if both are empty."""
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 1.0


def found_share(wanted: BoolArray, by: BoolArray, least_voxels: float) -> tuple[int, int]:
    """Number of 26-connected components of `wanted` that are covered by at least 10 %, and number of all."""
    parts = ConnectedComponents.of(wanted)
    large = parts.sizes >= least_voxels
    return int((large & (parts.sums(by) >= 0.1 * parts.sizes)).sum()), int(large.sum())


def score(source: Path, out: Path, patient: str, outcome: Outcome) -> dict[str, object]:
    """One line of the result."""
    derivatives = DerivativeDataset(out)
    truth = truth_on_grid(source, derivatives, patient)
    labels = (MaskLabel.T2_INCREASE, MaskLabel.T2_DECREASE)
    increase, decrease = (nifti.load_labels(derivatives.mask(patient, "2", label)).mask for label in labels)
    changed, voxel = increase | decrease, truth.grid.voxel_volume_mm3
    recall = found_share(truth.mask, changed, RECALL_FLOOR_MM3 / voxel)
    precision = found_share(changed, truth.mask, RECALL_FLOOR_MM3 / voxel)
    return {
        "patient": patient,
        "dice": round(dice(changed, truth.mask), 3),
        "truth_ml": round(truth.volume_mm3 / 1000, 2),
        "increase_ml": round(float(increase.sum()) * voxel / 1000, 2),
        "decrease_ml": round(float(decrease.sum()) * voxel / 1000, 2),
        f"recall_from_{RECALL_FLOOR_MM3:.0f}_mm3": "{}/{}".format(*recall),
        f"precision_from_{RECALL_FLOOR_MM3:.0f}_mm3": "{}/{}".format(*precision),
        "cpu_s": outcome.cpu_seconds,
        "peak_gib": outcome.peak_memory_gib,
    }


def main() -> None:
    """Run all patients and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--patients", nargs="+", default=["01", "03", "19"])
    parser.add_argument("--nprocs", type=int, default=2)
    options = parser.parse_args()
    source = options.data / "ljubljana" / "longitudinal"
    for patient in options.patients:
        lay_out(source, options.work / "bids", patient)
    out = options.work / "out"
    chosen = ScanSelection(participants=tuple(options.patients))
    outcomes = run_participants(
        options.work / "bids", out, selection=chosen, execution=Execution(nprocs=options.nprocs)
    )
    rows = [
        score(source, out, outcome.subject, outcome)
        if outcome.done
        else {"patient": outcome.subject, "failed": outcome.reason}
        for outcome in outcomes.outcomes
    ]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
