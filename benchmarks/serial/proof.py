"""Serial counts of whole subjects against their known truth: seven visits, drop-outs, repeated scans, scanner changes.

Usage::

    python benchmarks/serial/proof.py run WORK OUT.jsonl [--subjects a01 q01] [--keep]
    python benchmarks/serial/proof.py summary OUT.jsonl

`designs.py` defines the subjects. Each subject is simulated, written as a BIDS dataset and analysed with ``mri-pipeline
bids``. One line is appended to OUT.jsonl, and the files are deleted (``--keep`` deletes the scans only). Subjects that
OUT.jsonl contains are skipped, so that an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from designs import VISITS, Design, designs, simulate
from report import print_summary
from scores import score_visit, true_to_found

from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.io.nifti import save
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.spatial import Affine
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.subject import SimulatedSubject, simulate_visit
from mri_pipeline.phantom.trial import write_visit_truth
from mri_pipeline.phantom.truth import SubjectTruth, subject_truth
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.analysis.bids.app import run_participants


def write_scans(design: Design, subject: SimulatedSubject, folder: Path) -> dict[str, Affine]:
    """Write every scanned visit as BIDS, and its truth. Return the true pose of each FLAIR."""
    raw, poses = RawDataset(folder / "bids"), {}
    for visit, scanner in zip(VISITS, design.scanners, strict=True):
        if visit in design.missing:
            continue
        # repeated scan of the same visit: other position, noise and coil
        session = 1 if visit in design.rescanned else 0
        scan = simulate_visit(subject, visit, scanner=scanner, dimension=design.dimension, seed=session)
        for contrast, image in scan.images.items():
            path = raw.image(design.number, visit, contrast)
            path.parent.mkdir(parents=True, exist_ok=True)
            save(image, path)
        (folder / "truth").mkdir(exist_ok=True)
        write_visit_truth(subject, visit, scan, folder / "truth")
        poses[visit] = scan.subject_to_scanner[Contrast.FLAIR]
    description = {"Name": "Simulated visits", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (folder / "bids" / "dataset_description.json").write_text(json.dumps(description))
    return poses


def _visit_line(design: Design, visit: str, truth: SubjectTruth, row: dict[str, str]) -> dict[str, object]:
    counts = next(c for c in truth.counts if c.visit == visit)
    numbers = {k: v for k, v in asdict(counts).items() if not isinstance(v, str)}
    numbers.pop("reference_visit", None)
    return {
        "visit": visit,
        "scanner": design.scanners[VISITS.index(visit)].model,
        "rescanned": visit in design.rescanned,
        "status": row["scan_status"],
        "measured": {k: float(row[k]) if row[k] else None for k in numbers},
        "true": numbers,
    }


def score(
    design: Design, subject: SimulatedSubject, out: Path, poses: dict[str, Affine]
) -> list[dict[str, object]]:
    """One record for each scanned visit: measured and true counts, and all found and true lesions."""
    truth, derivatives = subject_truth(subject, design.number), DerivativeDataset(out)
    lines = []
    tables = (read_table(out / "tables" / f"{name}_timepoints.csv") for name in ("lesion", "supplementary"))
    for counted, supplementary in zip(*tables, strict=True):
        row, visit = counted | supplementary, counted["visit"]
        line = _visit_line(design, visit, truth, row)
        if row["scan_status"] == "analysed":
            way = true_to_found(derivatives, design.number, visit, poses[visit])
            sides = score_visit(subject, truth, visit, derivatives, way)
            line["lesions"] = {
                k: {s: [asdict(x) for x in seen] for s, seen in v.items()} for k, v in sides.items()
            }
        lines.append(line)
    return lines


def run_subject(design: Design, work: Path, *, keep: bool) -> dict[str, object]:
    """Simulate, analyse and score one subject."""
    folder = work / design.number
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.process_time()
    subject = simulate(design)
    poses = write_scans(design, subject, folder)
    simulating = time.process_time() - started
    out = folder / "out"
    (outcome,) = run_participants(folder / "bids", out, work_dir=folder / "work").outcomes
    line = {
        "subject": design.number,
        "seed": design.seed,
        "dimension": design.dimension.value,
        "quiet": design.quiet,
        "done": outcome.done,
        "failed_visits": outcome.failed_visits,
        "qc_flags": outcome.qc_flags,
        "cpu_s": outcome.cpu_seconds,
        "peak_gib": outcome.peak_memory_gib,
        "simulating_cpu_s": simulating,
        "visits": score(design, subject, out, poses),
    }
    for part in ("bids", "work") if keep else (".",):
        shutil.rmtree(folder / part)
    return line


def main() -> None:
    """Run the benchmark or print its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run")
    run.add_argument("work", type=Path)
    run.add_argument("out", type=Path)
    run.add_argument("--subjects", nargs="+", default=[])
    run.add_argument("--keep", action="store_true", help="keep masks and truth")
    actions.add_parser("summary").add_argument("out", type=Path)
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.is_file() else []
    if options.action == "run":
        for design in designs():
            wanted = not options.subjects or design.number in options.subjects
            if not wanted or design.number in {line["subject"] for line in lines}:
                continue
            lines.append(run_subject(design, options.work, keep=options.keep))
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(f"{design.number}: {lines[-1]['cpu_s']:.0f} CPU s", flush=True)
    print_summary(lines)


if __name__ == "__main__":
    main()
