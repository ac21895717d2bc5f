"""Counts and volumes of digital reference trials against their known truth.

    python benchmarks/reference_trial.py WORK [--seeds 1 2 3] [--nprocs 2] [--dimension 2D]

Each seed is a trial of two different subjects (heads, lesions). It is analysed from DICOM to tables as in
``mri-pipeline demo``. The script prints a line for every visit. For each column it prints the mean error (bias), the
mean absolute error and the share of exact visits; for volumes, the relative error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mri_pipeline.phantom.scanner import Dimension
from mri_pipeline.phantom.trial import write_reference_trial
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.analysis.run import run_trial
from reading_centre.use_cases.demo import COMPARED, take_in
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.init import init_trial
from workflows.executors import Execution


def run_seed(work: Path, seed: int, *, nprocs: int, dimension: Dimension) -> list[dict[str, tuple[str, str]]]:
    """Measured and true values of every analysed visit of one trial."""
    folder = work / f"seed{seed}_{dimension.value}"
    source = write_reference_trial(folder / "source", seed=seed, dimension=dimension)
    trial = init_trial(folder / "trial", source.protocol)
    codes = take_in(source, trial.root, say=lambda _line: None)
    outcome = run_trial(trial.root, execution=Execution(nprocs=nprocs))
    for subject in outcome.outcomes:
        print(f"seed {seed} {subject.subject}: {subject.cpu_seconds:.0f} CPU s, {subject.peak_memory_gib:.2f} GiB")
    write_trial_tables(trial.root, provisional=True)
    truth = {(codes[r["subject"]], r["visit"]): r for r in read_table(source.truth / "lesion_timepoints.csv")}
    rows = []
    for measured in read_table(trial.tables / "lesion_timepoints.csv"):
        known = truth[measured["subject"], measured["visit"]]
        if measured["scan_status"] == "analysed":
            rows.append({name: (measured[name], known[name]) for name in COMPARED})
            cells = (f"{name} {measured[name]}/{known[name]}" for name in COMPARED if known[name])
            print(f"seed {seed} {measured['subject']} {measured['visit']}: {'  '.join(cells)}")
    return rows


def summary(rows: list[dict[str, tuple[str, str]]]) -> None:
    """Print a line for each column."""
    for name in COMPARED:
        pairs = np.array([[float(v) for v in row[name]] for row in rows if all(row[name])])
        if not len(pairs):
            continue
        error = pairs[:, 0] - pairs[:, 1]
        if name.endswith("_ml"):
            relative = 100 * error / pairs[:, 1]
            print(
                f"{name:30s} {len(pairs)} visits  bias {relative.mean():+.1f} %  worst {np.abs(relative).max():.1f} %"
            )
        else:
            exact = int((error == 0).sum())
            print(
                f"{name:30s} {len(pairs)} visits  bias {error.mean():+.2f}  absolute {np.abs(error).mean():.2f}  "
                f"exact {exact}/{len(pairs)}"
            )


def main() -> None:
    """Run every seed and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--dimension", type=Dimension, default=Dimension.TWO_D, choices=list(Dimension))
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        rows += run_seed(options.work, seed, nprocs=options.nprocs, dimension=options.dimension)
    summary(rows)


if __name__ == "__main__":
    main()
