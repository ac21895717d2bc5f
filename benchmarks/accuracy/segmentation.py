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

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from lesion_prior import WITH_IMAGES, mean_scaling, prior_from_masks

from mri_pipeline.images import bias, brain, normalise, tissue
from mri_pipeline.lesions import black_holes, gel, t2
from mri_pipeline.lesions.scores import Rule, score_masks
from mri_pipeline.model import BoolArray, Contrast, Grid, Image, LabelImage, VisitImages
from mri_pipeline.nifti import load_image, load_labels
from mri_pipeline.protocol import LesionRules
from mri_pipeline.template import load_template

FILES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1", Contrast.T1W_GD: "T1POST", Contrast.T2W: "T2"}


def cases(data: Path) -> dict[str, tuple[Path, Path, str]]:
    """Name to folder, reference mask, and the patient to leave out of the prior ('' for none)."""
    ljubljana = data / "ljubljana"
    found = {
        f"ljubljana-{n}": (
            ljubljana / "cross_sectional_mni" / f"patient{n}",
            ljubljana / "lesion_masks_mni" / f"patient{n}.nii.gz",
            n,
        )
        for n in WITH_IMAGES
    }
    for visit in ("T1", "T2", "T3"):
        folder = data / "mslesseg" / "P14" / visit
        found[f"P14-{visit}"] = (folder, folder / "MASK.nii.gz", "")
    return found


def priors(data: Path) -> dict[str, Image]:
    """Location priors by the patient left out."""
    folder = data / "ljubljana"
    images = [load_image(folder / "cross_sectional_mni" / f"patient{n}" / "T1.nii.gz") for n in WITH_IMAGES]
    scaling = mean_scaling(images)
    single = {
        p.name[7:9]: prior_from_masks([load_labels(p)], scaling)
        for p in sorted((folder / "lesion_masks_mni").glob("patient*.nii.gz"))
    }
    grid = next(iter(single.values())).grid
    return {
        out: Image(np.mean([i.data for n, i in single.items() if n != out], axis=0), grid)
        for out in ("", *WITH_IMAGES)
    }


def thick(image: Image, slices: int = 3) -> Image:
    """Average neighbouring slices along the third axis: a 2D scan of the same head."""
    kept = image.data.shape[2] // slices * slices
    data = image.data[:, :, :kept].reshape(*image.data.shape[:2], -1, slices).mean(axis=3)
    step = np.diag([1.0, 1.0, slices, 1.0])
    step[2, 3] = (slices - 1) / 2
    return Image(data, Grid(data.shape, image.grid.affine @ step))


def analyse(name: str, images: Mapping[Contrast, Image], truth: BoolArray, prior: Image) -> None:
    rules, template = LesionRules(), load_template()
    start = time.process_time()
    head = brain.extract_brain(images[Contrast.FLAIR], template)
    corrected = {c: bias.correct_bias(i, head.mask) for c, i in images.items()}
    maps = tissue.map_tissue(
        flairs=[corrected[Contrast.FLAIR]],
        t1ws=[corrected[Contrast.T1W]] if Contrast.T1W in corrected else [],
        brain=head.mask,
        template=template,
        template_to_subject=head.template_to_image,
        lesion_prior=prior,
    )
    visit = VisitImages({c: normalise.normalise(i, maps, head.mask) for c, i in corrected.items()}, head.mask)
    prepared = time.process_time()
    (lesions,) = t2.segment_t2([visit], maps, rules)
    enhancing, candidates = None, "-"
    if Contrast.T1W_GD in images:
        detected = gel.detect_gel(visit, maps, lesions.mask, rules)
        enhancing = detected.mask
        candidates = f"{int(enhancing.data.max())}/{len(detected.candidates)}"
    holes = black_holes.segment_black_holes(visit, maps, lesions.mask, enhancing, rules)
    done = time.process_time()
    scores = score_masks(lesions.mask, LabelImage(truth, visit.grid))
    tenth, anima = (scores.detection(rule) for rule in (Rule.TENTH, Rule.ANIMA))
    lesion_wise = (tenth.recall, tenth.precision, tenth.f1, anima.f1)
    print(
        f"{name:18s} {scores.dice:5.2f} {' '.join('    -' if v is None else f'{v:5.2f}' for v in lesion_wise)} "
        f"{scores.reference_ml:7.2f} {scores.predicted_ml:7.2f} {scores.difference_percent:+6.0f}% "
        f"{candidates:>7s} {int(holes.data.max()):3d} {holes.volume_mm3 / 1000:5.2f} "
        f"{prepared - start:6.1f} {done - prepared:6.1f}",
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
        images = {
            c: load_image(folder / f"{f}.nii.gz") for c, f in FILES.items() if (folder / f"{f}.nii.gz").exists()
        }
        truth = load_image(mask)
        truth.grid.require_same(images[Contrast.FLAIR].grid, "reference mask")
        analyse(name, images, truth.data > 0.5, made[left_out])
        slabs = {c: thick(i) for c, i in images.items()}
        analyse(f"{name} 3 mm", slabs, thick(Image(truth.data > 0.5, truth.grid)).data >= 0.5, made[left_out])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
