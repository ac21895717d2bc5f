"""Lesion segmentation of single visits against expert masks: Dice, lesion F1, volume error, GEL candidates, CPU s.

Data: Ljubljana cross-sectional patients 07 and 19 (3 T) and MSLesSeg P14 at three visits (1.5 T): 3 patients, 5
visits, each as published (1 mm) and averaged to 3 mm slices. Leave-out: the location prior is made again without
the scored patient. The few constants of the T2 rule were chosen by looking at all three patients (coefficient
ratios on two of three at a time), so the figures are in-sample for those constants; the settings are the defaults.

Usage::

    python benchmarks/accuracy/segmentation.py SHARED_DATA [CASE ...]
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from published import analyse, cases, load_case, priors, thick

from mri_pipeline.lesions import black_holes
from mri_pipeline.lesions.scores import Rule, score_masks
from mri_pipeline.model import BoolArray, Contrast, Image, LabelImage
from mri_pipeline.protocol import LesionRules


def report(name: str, images: Mapping[Contrast, Image], truth: BoolArray, prior: Image) -> None:
    """Analyse one visit and print its line."""
    found = analyse(images, prior)
    mask = found.t2_lesions.mask
    enhancing = found.enhancing.mask if found.enhancing else None
    start = time.process_time()
    holes = black_holes.segment_black_holes(found.visit, found.tissue, mask, enhancing, LesionRules())
    lesions_s = found.lesions_s + time.process_time() - start
    candidates = "-"
    if found.enhancing:
        candidates = f"{int(found.enhancing.mask.data.max())}/{len(found.enhancing.candidates)}"
    scores = score_masks(mask, LabelImage(truth, mask.grid))
    tenth, anima = (scores.detection(rule) for rule in (Rule.TENTH, Rule.ANIMA))
    lesion_wise = (tenth.recall, tenth.precision, tenth.f1, anima.f1)
    print(
        f"{name:18s} {scores.dice:5.2f} {' '.join('    -' if v is None else f'{v:5.2f}' for v in lesion_wise)} "
        f"{scores.reference_ml:7.2f} {scores.predicted_ml:7.2f} {scores.difference_percent:+6.0f}% "
        f"{candidates:>7s} {int(holes.data.max()):3d} {holes.volume_mm3 / 1000:5.2f} "
        f"{found.prepare_s:6.1f} {lesions_s:6.1f}",
        flush=True,
    )


def main(data: Path, wanted: list[str]) -> None:
    made = priors(data)
    print(
        "case                Dice  rec. prec.    F1 Anima  ref mL  our mL  volume GEL/cand BH    mL  prep s  les. s"
    )
    for name, (folder, mask, left_out) in cases(data).items():
        if wanted and name not in wanted:
            continue
        images, truth = load_case(folder, mask)
        report(name, images, truth, made[left_out])
        slabs = {c: thick(i) for c, i in images.items()}
        halves = thick(Image(truth.astype(np.float32), images[Contrast.FLAIR].grid)).data >= 0.5
        report(f"{name} 3 mm", slabs, halves, made[left_out])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
