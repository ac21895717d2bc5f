"""T2 lesions of single visits against expert masks and against the truth of the digital reference trial.

Data: Ljubljana cross-sectional patients 07 and 19 (3 T) and MSLesSeg P14 at three visits (1.5 T). These are 3 patients
and 5 visits, each as published (1 mm) and averaged to slices of 3 mm. The location prior is made without the scored
patient. The constants of the T2 rule were chosen on these three patients (coefficient ratios on two of three at a
time). The figures are therefore in-sample for these constants. The settings are the defaults. Reference trial: the
first visit of simulated subjects (2D) with the given seeds. The constants were tuned on other seeds.

Every mask is written to OUT and scored as by ``mri-pipeline evaluate``: a page and CSV files in OUT/published,
OUT/slices_3mm and OUT/reference_trial. The script also prints GEL and their candidates, black holes and CPU seconds.

Usage::

    python benchmarks/accuracy/segmentation.py SHARED_DATA OUT [--cases CASE ...] [--seeds 101 102 103 104]
        [--contrasts FLAIR ...]
"""

import argparse
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from published import Learned, analyse, cases, learned, load_case, thick

from benchmarks.simulated import truth_on_grid
from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions import black_holes
from mri_pipeline.lesions.gel.candidates import GelDetection
from mri_pipeline.phantom.subject import simulate_subject, simulate_visit, truth_masks
from reading_centre.use_cases.analysis.evaluate import evaluate
from reading_centre.use_cases.analysis.mask_pairs import Pair
from reading_centre.use_cases.analysis.one_scan import segment_images


@dataclass(frozen=True)
class Segmented:
    """Segmentation and reference of a case, and CPU seconds of preprocessing and of lesion segmentation."""

    name: str
    t2_lesions: LabelImage
    truth: BoolArray
    enhancing: GelDetection | None
    holes: LabelImage | None
    seconds: tuple[float, ...]

    def line(self) -> str:
        """Line of the printed summary."""
        gel = f"{int(self.enhancing.mask.data.max())}/{len(self.enhancing.candidates)}" if self.enhancing else "-"
        holes = f"{self.holes.volume_mm3 / 1000:.2f}" if self.holes else "-"
        seconds = " + ".join(f"{s:.1f}" for s in self.seconds)
        return f"{self.name:16s} GEL and candidates {gel:>7s}  black holes {holes:>5s} mL  {seconds} CPU s"


def published(name: str, images: Mapping[Contrast, Image], truth: BoolArray, made: Learned) -> Segmented:
    """Segment one visit of a published case with what was learned without the patient."""
    found = analyse(images, made)
    mask = found.t2_lesions.mask
    gel = found.enhancing.mask if found.enhancing else None
    start = time.process_time()
    holes = None
    if Contrast.T1W in images:
        holes = black_holes.segment_black_holes(found.visit, found.tissue, mask, gel, LesionRules()).black_holes
    lesions_s = found.lesions_s + time.process_time() - start
    return Segmented(name, mask, truth, found.enhancing, holes, (found.prepare_s, lesions_s))


def simulated(seed: int, contrasts: Collection[Contrast]) -> Segmented:
    """Segment the first visit of a subject of the reference trial. Its scans have different grids."""
    subject = simulate_subject(seed, ("wk00",))
    scan = simulate_visit(subject, "wk00")
    start = time.process_time()
    found = segment_images(only(scan.images, contrasts), rules=LesionRules())
    seconds = time.process_time() - start
    mask = found.t2.mask
    truth = truth_on_grid(truth_masks(subject, "wk00")["t2"], scan.subject_to_scanner[Contrast.FLAIR], mask.grid)
    holes = found.found.dark.black_holes if found.found.dark else None
    return Segmented(f"subject-{seed}", mask, truth.mask, found.found.gel, holes, (seconds,))


def only(images: Mapping[Contrast, Image], contrasts: Collection[Contrast]) -> dict[Contrast, Image]:
    return {contrast: image for contrast, image in images.items() if contrast in contrasts}


def scored(folder: Path, segmented: Iterator[Segmented], *, data: str, tuned_on: bool) -> None:
    """Write the masks of all cases and score them."""
    pairs = []
    for case in segmented:
        print(case.line(), flush=True)
        masks = {"predicted": case.t2_lesions, "reference": LabelImage(case.truth, case.t2_lesions.grid)}
        files = {kind: folder / kind / f"{case.name}.nii.gz" for kind in masks}
        for kind, mask in masks.items():
            nifti.save(LabelImage(mask.mask.astype(np.uint8), mask.grid), files[kind])
        pairs.append(Pair(case.name, files["predicted"], files["reference"], tuned_on))
    if not pairs:
        return
    summary = evaluate(pairs, folder, data=data)
    print((folder / "cases.csv").read_text(encoding="utf-8"))
    print(", ".join(f"{name} {value}" for name, value in summary.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--seeds", nargs="*", type=int, default=[101, 102, 103, 104])
    parser.add_argument("--contrasts", nargs="+", type=Contrast, default=list(Contrast), help="contrasts to use")
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    made = learned(arguments.data, arguments.models)
    chosen = {n: c for n, c in cases(arguments.data).items() if not arguments.cases or n in arguments.cases}

    def real(slices: int) -> Iterator[Segmented]:
        for name, (folder, mask, left_out) in chosen.items():
            images, truth = load_case(folder, mask)
            slabs = {c: thick(i, slices) for c, i in only(images, arguments.contrasts).items()}
            share = thick(Image(truth.astype(np.float32), images[Contrast.FLAIR].grid), slices).data
            yield published(name, slabs, share >= 0.5, made[left_out])

    scored(arguments.out / "published", real(1), data="Ljubljana 07, 19; MSLesSeg P14; 1 mm", tuned_on=True)
    scored(
        arguments.out / "slices_3mm", real(3), data="Ljubljana 07, 19; MSLesSeg P14; 3 mm slices", tuned_on=True
    )
    trial = (simulated(seed, arguments.contrasts) for seed in arguments.seeds)
    scored(arguments.out / "reference_trial", trial, data="digital reference trial, 2D", tuned_on=False)


if __name__ == "__main__":
    main()
