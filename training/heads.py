"""Real heads for training, and lesions inserted into them.

Heads (Lesjak et al., Neuroinformatics 2016 and 2018, CC-BY):

- Ljubljana cross-sectional patients 07 and 19 (T1 before and after contrast, expert masks), at 1 mm and averaged to
  thicker slices;
- Ljubljana longitudinal patients 01 and 03 (both visits) and patient 04: clinical 2D scans without masks. Their own
  lesions are those that the program finds. Their T1 looks post-contrast (bright sinuses and plexus) and is used as
  the T1 after contrast.

Lesions have the shapes of expert masks of other patients, with a random blur, and the contrast of a `Recipe`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "accuracy"))

from published import cases, load_case, prepare, priors, thick

from mri_pipeline.analysis import preparation
from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.io.nifti import load_scan
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Image
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.images import normalise
from mri_pipeline.lesions.t2.segment import segment_t2

CLINICAL = (("01", "study1"), ("01", "study2"), ("03", "study1"), ("03", "study2"), ("04", ""))
FROM_OWN_MM = 5.0
BLUR_MM = (0.4, 0.9)
LEAST_RING_MM3, RING_MM = 120, 1.5


@dataclass(frozen=True)
class Head:
    """A prepared visit with the patient's own lesions, shape (x, y, z)."""

    name: str
    patient: str
    visit: VisitImages
    tissue: TissueMaps
    own: BoolArray


@dataclass(frozen=True)
class Recipe:
    """How lesions are inserted: number, distance in mm, and limits of each contrast relative to white matter."""

    lesions: int
    apart_mm: float
    levels: Mapping[Contrast, tuple[float, float]]
    rings: bool = False


def heads(data: Path, slices: tuple[int, ...]) -> Iterator[Head]:
    """Prepared heads with a T1 after contrast: research scans at several slice thicknesses, then clinical scans."""
    made = priors(data)
    for name, (folder, mask, left_out) in cases(data).items():
        images, truth = load_case(folder, mask)
        if Contrast.T1W_GD not in images:
            continue
        grid = images[Contrast.FLAIR].grid
        for thickness in slices:
            visit, tissue = prepare({c: thick(i, thickness) for c, i in images.items()}, made[left_out])
            own = thick(Image(truth.astype(np.float32), grid), thickness).data > 0.3
            yield Head(f"{name} {thickness} mm", left_out, visit, tissue, own)
    yield from clinical_heads(data)


def clinical_heads(
    data: Path, visits: Sequence[tuple[str, str]] = CLINICAL, *, model: BoostedTrees | None = None
) -> Iterator[Head]:
    """Clinical scans with T1. Their own lesions are those that the program finds, with a model of small ones."""
    for patient, study in visits:
        folder = data / "ljubljana" / ("longitudinal" if study else "unlabelled") / f"patient{patient}"
        visit, tissue = clinical(folder, study)
        if Contrast.T1W_GD not in visit.contrasts:
            continue
        (found,) = segment_t2([visit], tissue, LesionRules(), model=model)
        yield Head(f"{patient} {study}".strip(), patient, visit, tissue, found.mask.mask)


def clinical(folder: Path, study: str) -> tuple[VisitImages, TissueMaps]:
    """A clinical visit on the grid of its FLAIR; its T1 is used as the T1 after contrast.

    A scan that cannot be registered to the FLAIR is left out.
    """
    names = {Contrast.FLAIR: "flair", Contrast.T1W_GD: "t1w", Contrast.T2W: "t2w"}
    files = sorted(f for f in folder.glob("*.nii.gz") if study in f.name)
    images = {
        c: load_scan(f) for c, end in names.items() for f in files if f.name.lower().endswith(f"{end}.nii.gz")
    }
    flair = images[Contrast.FLAIR]
    head = preparation.extract_brain(flair)
    to_flair = {Contrast.FLAIR: Affine.identity()}
    for contrast in set(images) - {Contrast.FLAIR}:
        found = preparation.register(flair, images[contrast], fixed_brain=head.mask, intra_modal=False)
        if not found.failed:
            to_flair[contrast] = found.moving_to_fixed
    space = preparation.subject_space(
        flairs=[flair], brains=[head.mask], templates_to_flair=[head.template_to_image], later_to_first=[]
    )
    brain, _ = preparation.brain_of_visit(space.brain, flair, Affine.identity(), whole_brain=space.whole_brain)
    prepared = preparation.prepare_visit({c: images[c] for c in to_flair}, to_flair, brain)
    tissue = preparation.map_subject_tissue(
        flairs=[prepared[Contrast.FLAIR]],
        t1ws=[prepared[c] for c in (Contrast.T1W_GD,) if c in prepared],
        brain=space.brain,
        template_to_subject=space.template_to_subject,
    )
    return VisitImages({c: normalise.normalise(i, tissue, brain) for c, i in prepared.items()}, brain), tissue


def on_grid(shape: FloatArray, spacing: FloatArray) -> FloatArray:
    """A lesion of 1 mm voxels, averaged to voxels of another size."""
    box = [max(1, round(float(s))) for s in spacing]
    averaged = ndimage.uniform_filter(shape, box)
    size = np.maximum((np.array(shape.shape) - 1) // spacing, 1).astype(int)
    start = ((np.array(shape.shape) - 1) - (size - 1) * spacing) / 2
    at = np.indices(size).reshape(3, -1) * spacing[:, None] + start[:, None]
    return np.asarray(ndimage.map_coordinates(averaged, at, order=1).reshape(size))


def insert(
    head: Head, pool: list[BoolArray], recipe: Recipe, rng: np.random.Generator
) -> tuple[Head, list[BoolArray]]:
    """A copy of a head with lesions in its white matter, and their masks."""
    grid, brain, white = head.visit.grid, head.visit.brain.mask, head.tissue.white_matter.data
    spacing = np.array(grid.spacing_mm)
    free = brain & (white > 0.5) & head.tissue.above_foramen_magnum
    if head.own.any():
        free &= ndimage.distance_transform_edt(~head.own, sampling=spacing) > FROM_OWN_MM
    data = {contrast: image.data.astype(np.float32).copy() for contrast, image in head.visit.contrasts.items()}
    places = rng.permutation(np.argwhere(free))
    masks: list[BoolArray] = []
    for at in places[: 60 * recipe.lesions]:
        if len(masks) == recipe.lesions or not free[tuple(at)]:
            continue
        whole, part = blurred_shape(pool[rng.integers(len(pool))], spacing, rng, rings=recipe.rings)
        start = at - np.array(whole.shape) // 2
        if (start < 0).any() or (start + whole.shape > brain.shape).any():
            continue
        box = tuple(slice(s, s + n) for s, n in zip(start, whole.shape, strict=True))
        core, distance = whole > 0.5, ndimage.distance_transform_edt(whole <= 0.5, sampling=spacing)
        around = brain[box] & (white[box] > 0.5) & ~head.own[box] & (distance > 2.0) & (distance <= 6.0)
        if not core.any() or not brain[box][core].all() or free[box][core].mean() < 0.6 or around.sum() < 8:
            continue
        for contrast in sorted(set(recipe.levels) & set(data)):
            form = part if contrast is Contrast.T1W_GD else whole
            solid = core & (form > 0.5) if (core & (form > 0.5)).any() else core
            raise_to(data[contrast][box], form, solid, around, rng.uniform(*recipe.levels[contrast]))
        mask = np.zeros(brain.shape, dtype=bool)
        mask[box] = core
        masks.append(mask)
        free[tuple(places[np.linalg.norm((places - at) * spacing, axis=1) <= recipe.apart_mm].T)] = False
    contrasts = {contrast: Image(values, grid) for contrast, values in data.items()}
    return replace(head, visit=VisitImages(contrasts, head.visit.brain)), masks


def blurred_shape(
    shape: BoolArray, spacing: FloatArray, rng: np.random.Generator, *, rings: bool
) -> tuple[FloatArray, FloatArray]:
    """A lesion in a random orientation on voxels of `spacing`: whole, and its enhancing part (it, or a ring)."""
    shape = np.flip(shape, [a for a in range(3) if rng.random() < 0.5]).transpose(rng.permutation(3))
    solid, blur = np.pad(shape, 8), rng.uniform(*BLUR_MM)
    rim = solid & (ndimage.distance_transform_edt(solid) <= RING_MM)
    ring = rings and shape.sum() >= LEAST_RING_MM3 and rng.random() < 1 / 3
    whole, part = (
        on_grid(ndimage.gaussian_filter(m.astype(np.float32), blur), spacing)
        for m in (solid, rim if ring else solid)
    )
    return whole, part


def raise_to(values: FloatArray, shape: FloatArray, core: BoolArray, around: BoolArray, level: float) -> None:
    """Multiply a box of an image, in place, so that `core` has `level` times the median of `around`."""
    factor = level * float(np.median(values[around])) / max(float(values[core].mean()), 0.1)
    values *= 1.0 + shape * (factor - 1.0)
