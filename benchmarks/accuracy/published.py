"""Published cases, and the analysis of one visit that these benchmarks share."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from lesion_prior import WITH_IMAGES, mean_scaling, prior_from_masks

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.components import structure
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.priors import read_model, read_trees
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, Grid, Image
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.images import bias, brain, normalise, tissue
from mri_pipeline.lesions.gel import detect as gel
from mri_pipeline.lesions.gel.candidates import GelDetection
from mri_pipeline.lesions.t2 import segment as t2

FILES = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1", Contrast.T1W_GD: "T1POST", Contrast.T2W: "T2"}


def cases(data: Path) -> dict[str, tuple[Path, Path, str]]:
    """Cases by name: folder, reference mask, and the patient excluded from the prior ('' for none)."""
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
    """Location priors by the excluded patient ('' for none)."""
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
    """Simulate a 2D scan: average neighbouring slices along the third axis."""
    kept = image.data.shape[2] // slices * slices
    data = image.data[:, :, :kept].reshape(*image.data.shape[:2], -1, slices).mean(axis=3)
    step = np.diag([1.0, 1.0, slices, 1.0])
    step[2, 3] = (slices - 1) / 2
    return Image(data, Grid(data.shape, image.grid.affine @ step))


def load_case(folder: Path, mask: Path) -> tuple[dict[Contrast, Image], BoolArray]:
    """Scans of a case and its reference mask of T2 lesions."""
    images = {c: load_image(folder / f"{f}.nii.gz") for c, f in FILES.items() if (folder / f"{f}.nii.gz").exists()}
    truth = load_image(mask)
    truth.grid.require_same(images[Contrast.FLAIR].grid, "reference mask")
    return images, truth.data > 0.5


def lesion_shapes(
    folder: Path, left_out: str, volumes_mm3: tuple[float, float], *, least_fill: float = 0.0
) -> list[BoolArray]:
    """Lesions in the expert masks of all patients except one, at 1 mm.

    `volumes_mm3` are the smallest and the largest volume; `least_fill` is the least share of its bounding box that a
    lesion fills.
    """
    found = []
    for path in sorted(folder.glob("patient*.nii.gz")):
        if path.name[7:9] == left_out:
            continue
        labels, _ = ndimage.label(load_labels(path).mask, structure(3))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            shape = labels[box] == number
            if volumes_mm3[0] <= shape.sum() <= volumes_mm3[1] and shape.mean() > least_fill:
                found.append(shape)
    return found


@dataclass(frozen=True)
class Analysed:
    """Results of one visit, and CPU seconds of preprocessing and of lesion segmentation."""

    visit: VisitImages
    tissue: TissueMaps
    t2_lesions: t2.T2Segmentation
    enhancing: GelDetection | None
    prepare_s: float
    lesions_s: float


def prepare(images: Mapping[Contrast, Image], prior: Image) -> tuple[VisitImages, TissueMaps]:
    """Prepare one visit whose scans share a grid: brain, bias field, tissue, normalisation."""
    template = load_template()
    head = brain.extract_brain(images[Contrast.FLAIR], template)
    corrected = {c: bias.correct_bias(i, head.mask) for c, i in images.items()}
    maps = tissue.map_tissue(
        flairs=[corrected[Contrast.FLAIR]],
        t1ws=[corrected[c] for c in (Contrast.T1W, Contrast.T1W_GD) if c in corrected][:1],
        brain=head.mask,
        template=template,
        template_to_subject=head.template_to_image,
        lesion_prior=prior,
    )
    return VisitImages({c: normalise.normalise(i, maps, head.mask) for c, i in corrected.items()}, head.mask), maps


@dataclass(frozen=True)
class Learned:
    """What the method has learned without one patient; None stands for the model of the package."""

    prior: Image
    gel_model: LogisticModel | None = None
    t2_model: BoostedTrees | None = None


def learned(data: Path, models: Path | None) -> dict[str, Learned]:
    """Prior and models by the excluded patient ('' for MSLesSeg P14, who has no part in the prior).

    `models` holds the folders ``gel`` and ``t2`` that ``training/gel_nodes.py --apart`` and ``training/t2_basins.py
    --apart`` wrote. Without them, the models of the package are used, which were made with these patients.
    """

    def file(kind: str, patient: str) -> Path | None:
        path = models / kind / f"without_{patient or 'P14'}.json" if models else None
        return path if path and path.exists() else None

    return {
        out: Learned(
            prior,
            read_model(gel_file) if (gel_file := file("gel", out)) else None,
            read_trees(t2_file) if (t2_file := file("t2", out)) else None,
        )
        for out, prior in priors(data).items()
    }


def analyse(images: Mapping[Contrast, Image], made: Learned) -> Analysed:
    """Prepare one visit (`prepare`), and find its T2 lesions and GEL."""
    rules, start = LesionRules(), time.process_time()
    visit, maps = prepare(images, made.prior)
    prepared = time.process_time()
    (lesions,) = t2.segment_t2([visit], maps, rules, model=made.t2_model)
    enhancing, mask, probability = None, lesions.mask, lesions.probability
    if Contrast.T1W_GD in images:
        enhancing = gel.detect_gel(visit, maps, mask, rules, model=made.gel_model)
        mask, probability = gel.with_enhancing(mask, probability, enhancing, rules)
    found = replace(lesions, mask=mask, probability=probability)
    return Analysed(visit, maps, found, enhancing, prepared - start, time.process_time() - prepared)
