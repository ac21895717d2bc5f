"""Capture range of the registration, and detection of its failures.

Usage: ``python benchmarks/registration/capture.py DATA RESULTS.jsonl [--trials N] [--stripped] [--no-mask]``

The header of the moving scan is rotated by up to 30° about each axis and shifted by up to 60 mm along each axis. The
error is the mean distance over the brain to the transform found from the true header with the brain mask. *Silent
failure*: accepted with an error of more than 2 mm. *Flagged*: reported as failed. Trials that the results contain are
skipped.

`--stripped` uses the published skull-stripped heads instead of whole heads. `--no-mask` registers the displaced scans
without a mask of the fixed scan.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from heads import Pair, brain_mask, displaced, distance_mm, reference_pairs, true_pairs

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.images.register import Registration, register_rigid

WRONG_MM = 2.0


@cache
def at_home(pair: Pair) -> Registration:
    """Register the pair from its true headers."""
    return register_rigid(
        load_image(pair.fixed),
        load_image(pair.moving),
        intra_modal=pair.intra_modal,
        fixed_mask=brain_mask(pair.fixed),
    )


def trial(pair: Pair, rng: np.random.Generator, *, masked: bool) -> dict[str, Any]:
    fixed, moving, mask = load_image(pair.fixed), load_image(pair.moving), brain_mask(pair.fixed)
    home = at_home(pair)
    away, way = displaced(moving, rng, 60.0, 30.0)
    start = time.process_time()
    found = register_rigid(fixed, away, intra_modal=pair.intra_modal, fixed_mask=mask if masked else None)
    cpu_s = time.process_time() - start
    error = distance_mm(found.moving_to_fixed.inverse(), way @ home.moving_to_fixed.inverse(), mask)
    return {
        "name": pair.name,
        "error_mm": error,
        "quality": found.quality,
        "failed": found.failed,
        "method": found.method,
        "cpu_s": cpu_s,
    }


def summary(rows: list[dict[str, Any]]) -> None:
    print("| moving | trials | silent failures | flagged | error in mm: median, 95 %, maximum | CPU s: median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for contrast in ("FLAIR", "T1", "T2"):
        of = [r for r in rows if r["name"].split()[1].startswith(contrast)]
        if not of:
            continue
        error = np.array([r["error_mm"] for r in of if not r["failed"]])
        spread = ", ".join(f"{x:.3f}" for x in np.percentile(error, [50, 95, 100]))
        flagged = sum(r["failed"] for r in of)
        cpu_s = np.median([r["cpu_s"] for r in of])
        print(f"| {contrast} | {len(of)} | {(error > WRONG_MM).sum()} | {flagged} | {spread} | {cpu_s:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--stripped", action="store_true", help="skull-stripped heads")
    parser.add_argument("--no-mask", action="store_true", help="no mask of the fixed scan")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    if not arguments.summary:
        with arguments.results.open("a+") as file:
            file.seek(0)
            done = len(file.readlines())
            stripped = (pair for pair in true_pairs(arguments.data) if not pair.name[0].isdigit())
            pairs = cycle(list(stripped if arguments.stripped else reference_pairs(arguments.data)))
            for number, pair in islice(enumerate(pairs), done, arguments.trials):
                row = trial(pair, np.random.default_rng([2026, number]), masked=not arguments.no_mask)
                file.write(json.dumps(row) + "\n")
                file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
