"""Simulated rescans of the same tissue: change of T2 volume and false changes.

Usage::

    python benchmarks/accuracy/rescan.py SHARED_DATA WORK [--slices 1 3] [--nprocs 2]

A second visit is simulated from each published case (see `published.py`). All scans are rotated and shifted together by
up to 5° and 5 mm and resampled. They get a field that rises by a quarter from one side to the other, another gain, and
noise of 2 % of tissue. Both visits are analysed with ``mri-pipeline bids`` as two sessions of one subject. Every new,
enlarging or vanished lesion is false.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from published import cases, load_case, thick
from scipy.spatial.transform import Rotation

from mri_pipeline.core.io.nifti import save
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.spatial import Affine, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.resample import resample
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.analysis.bids.app import run_participants
from workflows.executors import Execution

VISITS = ("1", "2")
DEGREES, SHIFT_MM = 5.0, 5.0
NOISE = 0.02
FIELD = 0.25
COUNTS = ("new_t2_count", "enlarging_t2_count", "gel_count")


def scanned_again(images: dict[Contrast, Image], rng: np.random.Generator) -> dict[Contrast, Image]:
    """Simulate a second scan of the same head: other position, coil field, gain and noise."""
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-DEGREES, DEGREES, 3), degrees=True).as_matrix()
    move[:3, 3] = rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    again = {}
    for contrast, image in images.items():
        inside = resample(image, image.grid, Affine(move), order=1).data > 0
        moved = resample(image, image.grid, Affine(move), order=3).data.clip(min=0.0) * inside
        tissue = float(np.median(moved[moved > 0.1 * moved.max()]))
        axis = int(rng.integers(3))
        field = np.linspace(1.0 - FIELD / 2, 1.0 + FIELD / 2, moved.shape[axis])
        moved = moved * np.expand_dims(field, [a for a in range(3) if a != axis]) * rng.uniform(0.5, 2.0)
        noise = NOISE * tissue * rng.standard_normal(moved.shape)
        again[contrast] = Image(np.where(inside, np.abs(moved + noise), 0.0).astype(np.float32), image.grid)
    return again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 3], help="slice thickness in mm")
    parser.add_argument("--nprocs", type=int, default=2)
    arguments = parser.parse_args()
    raw, rng = RawDataset(arguments.work / "bids"), np.random.default_rng(2026)
    for name, (folder, mask, _) in cases(arguments.data).items():
        images, _ = load_case(folder, mask)
        again = scanned_again(images, rng)
        for slices in arguments.slices:
            for visit, scans in zip(VISITS, (images, again), strict=True):
                for contrast, image in scans.items():
                    path = raw.image(f"{name.replace('-', '')}x{slices}mm", visit, contrast)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save(thick(image, slices), path)
    description = {"Name": "Scanned twice", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (arguments.work / "bids" / "dataset_description.json").write_text(json.dumps(description))
    out = arguments.work / "out"
    for outcome in run_participants(
        arguments.work / "bids", out, execution=Execution(nprocs=arguments.nprocs)
    ).outcomes:
        if not outcome.done:
            print(f"{outcome.subject}: failed: {outcome.reason}")
    print("subject                   T2 mL first, second   change   new  enlarging  GEL second (first)")
    rows = read_table(out / "tables" / "lesion_timepoints.csv")
    for subject in sorted({row["subject"] for row in rows}):
        first, second = (row for row in rows if row["subject"] == subject)
        if not (first["t2_volume_ml"] and second["t2_volume_ml"]):
            continue
        before, after = float(first["t2_volume_ml"]), float(second["t2_volume_ml"])
        new, enlarging, gel = (second[name] or "-" for name in COUNTS)
        print(
            f"{subject:24s} {before:10.2f} {after:8.2f} {100 * (after / before - 1):+9.1f} % {new:>5s} {enlarging:>8s} "
            f"{gel:>8s} ({first['gel_count'] or '-'})"
        )


if __name__ == "__main__":
    main()
