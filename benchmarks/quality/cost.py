"""Processor time and memory of the measures of one visit with four 2D series, and of the comparison with another visit.

Usage: ``python benchmarks/quality/cost.py DATA`` prints CPU seconds of one thread and the peak memory of the process.
The visit is that of patient 01 of the Ljubljana data; its T1w stands for both T1. The template and the libraries are
loaded before, as in a running service.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.visits import Contrast
from qc.measures import measure_visit
from qc.same_head import match_head

NAMES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1W", Contrast.T1W_GD: "T1W", Contrast.T2W: "T2W"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data / "ljubljana" / "longitudinal" / "patient01"
    images = {c: load_image(folder / f"study1_{name}.nii.gz") for c, name in NAMES.items()}
    earlier = load_image(folder / "study2_FLAIR.nii.gz")
    measure_visit({Contrast.FLAIR: images[Contrast.FLAIR]}, {Contrast.FLAIR: Contrast.FLAIR})
    start = time.process_time()
    measure_visit(images, {contrast: contrast for contrast in images})
    measured = time.process_time()
    match = match_head(images[Contrast.FLAIR], earlier, "wk00")
    matched = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"measures of four series: {measured - start:.1f} CPU s")
    print(f"FLAIR against another visit (agreement {match.agreement:.2f}): {matched - measured:.1f} CPU s")
    print(f"peak memory of the process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
