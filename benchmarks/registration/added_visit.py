"""Effect of an added visit on the transforms, counts and volumes of the earlier visits.

Usage: ``python benchmarks/registration/added_visit.py BIDS_DIR WORK [--labels LABEL ...]``

Each participant with at least three sessions is analysed without the last session, and then from scratch with it. No
space is kept, which is the worst case. The script prints the mean motion over the brain of each earlier FLAIR in the
subject space, its motion relative to the first FLAIR, and the counts and volumes before and after.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from heads import distance_mm

from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_labels
from mri_pipeline.core.spatial import Affine
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.analysis.bids.app import run_participants
from reading_centre.use_cases.analysis.bids.jobs import ScanSelection

COLUMNS = ("gel_count", "gel_volume_ml", "t2_count", "t2_volume_ml", "new_t2_count", "bh_count", "bh_volume_ml")


def analysed(bids: Path, work: Path, name: str, sessions: list[Path]) -> Path:
    """Analyse some sessions of a participant."""
    raw, out = work / name / "raw", work / name / "out"
    subject = sessions[0].parent.name
    for file in bids.glob("*.*"):
        raw.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, raw)
    for session in sessions:
        shutil.copytree(session, raw / subject / session.name)
    run_participants(raw, out, selection=ScanSelection(participants=(subject.removeprefix("sub-"),)))
    return out


def way(out: Path, session: Path) -> Affine:
    """Transform from the FLAIR to the subject space."""
    folder = out / session.parent.name / session.name / "anat"
    return load_transform(next(folder.glob("*from-FLAIR_to-subject*_xfm.txt")))


def compare(before: Path, after: Path, sessions: list[Path]) -> None:
    subject = sessions[0].parent.name.removeprefix("sub-")
    tables = [
        {row["visit"]: row for row in read_table(out / "tables" / "lesion_timepoints.csv")}
        for out in (before, after)
    ]
    first = [way(out, sessions[0]) for out in (before, after)]
    for session in sessions:
        mask = load_labels(
            next((before / session.parent.name / session.name).glob("anat/*desc-brain_mask.nii.gz"))
        )
        ways = [way(out, session) for out in (before, after)]
        # motion of the points of the scan, in the earlier subject space
        there = distance_mm(ways[1] @ ways[0].inverse(), Affine(np.eye(4)), mask)
        between = distance_mm(first[1].inverse() @ ways[1], first[0].inverse() @ ways[0], mask)
        visit = session.name.removeprefix("ses-")
        one, other = (table[visit] for table in tables)
        cells = " | ".join(f"{one[name]} → {other[name]}" if one[name] else "" for name in COLUMNS)
        print(f"| {subject} {visit} | {there:.2f} | {between:.4f} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bids", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--labels", nargs="*", default=())
    arguments = parser.parse_args()
    print(f"| visit | motion, mm | relative to the first visit, mm | {' | '.join(COLUMNS)} |")
    print("| --- " * (3 + len(COLUMNS)) + "|")
    for subject in sorted(arguments.bids.glob("sub-*")):
        sessions = sorted(subject.glob("ses-*"))
        if len(sessions) < 3 or (arguments.labels and subject.name.removeprefix("sub-") not in arguments.labels):
            continue
        before, after = (
            analysed(arguments.bids, arguments.work, f"{subject.name}_{len(some)}", some)
            for some in (sessions[:-1], sessions)
        )
        compare(before, after, sessions[:-1])


if __name__ == "__main__":
    main()
