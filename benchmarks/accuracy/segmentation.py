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
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.model import BoolArray, Contrast, Grid, Image, VisitImages
from mri_pipeline.nifti import load_image, load_labels
from mri_pipeline.protocol import LesionRules
from mri_pipeline.template import load_template

FILES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1", Contrast.T1W_GD: "T1POST", Contrast.T2W: "T2"}
REFERENCE_LEAST_MM3 = 3.0
COVERED = 0.1


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


def lesion_scores(found: BoolArray, truth: BoolArray, grid: Grid) -> tuple[float, float, float]:
    """Recall, precision and F1: found is what is covered to 10 %; references from 3 mm³, 26-connected."""

    def share(lesions: BoolArray, by: BoolArray, least: float) -> float:
        labels = label_lesions(lesions, grid, min_volume_mm3=least).data
        size = np.bincount(labels.ravel())[1:]
        covered = np.bincount(labels[by], minlength=len(size) + 1)[1:]
        return float((covered >= COVERED * size).mean()) if len(size) else float("nan")

    recall, precision = share(truth, found, REFERENCE_LEAST_MM3), share(found, truth, 0.0)
    return recall, precision, 2 * recall * precision / max(recall + precision, 1e-9)


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
    found = lesions.mask.mask
    dice = 2 * np.count_nonzero(found & truth) / max(np.count_nonzero(found) + np.count_nonzero(truth), 1)
    recall, precision, f1 = lesion_scores(found, truth, visit.grid)
    reference = np.count_nonzero(truth) * visit.grid.voxel_volume_mm3
    print(
        f"{name:18s} {dice:5.2f} {recall:6.2f} {precision:5.2f} {f1:5.2f} {reference / 1000:7.2f} "
        f"{lesions.mask.volume_mm3 / 1000:7.2f} {100 * (lesions.mask.volume_mm3 / reference - 1):+6.0f}% "
        f"{candidates:>7s} {int(holes.data.max()):3d} {holes.volume_mm3 / 1000:5.2f} "
        f"{prepared - start:6.1f} {done - prepared:6.1f}",
        flush=True,
    )


def main(data: Path, wanted: list[str]) -> None:
    made = priors(data)
    print("case                Dice recall  prec    F1  ref mL  our mL  volume GEL/cand BH    mL  prep s  les. s")
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
