"""Make ``mri_pipeline/data/gel_nodes.json``: probability that a connected component of enhancement is a lesion.

Enhancing lesions are inserted into real scans after contrast, and the enhancing structures of the untouched scans are
the counter-examples (Lesjak et al., Neuroinformatics 2017 and 2018, CC-BY):

- cross-sectional patients 07 and 19, with T1 before contrast, at 1 mm and averaged to slices of 3 and 5 mm;
- longitudinal patients 01 and 03 (both visits) and patient 04 without masks: clinical 2D scans whose T1 looks
  post-contrast (bright sinuses and plexus), without a T1 before contrast.

The lesions have the shapes of expert masks of other patients (40 to 450 mm³), random blur, FLAIR 20 to 45 % and
enhancement 18 to 65 % above the white matter around; a third of the larger ones are rings. A component is a lesion if
at least 40 % of it lies in an inserted lesion. The components of the untouched scan that lie outside the patient's own
lesions are the others.

Usage::

    python training/gel_nodes.py SHARED_DATA [--copies 4] [--seed 11] [--apart FOLDER] [--out FILE]

Each patient is scored with the coefficients of the others; the script prints the share of inserted lesions that have
an accepted component, and the number of accepted components in the untouched scan.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from logistic import fit
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "accuracy"))

from published import cases, lesion_shapes, load_case, prepare, priors, thick

from mri_pipeline.analysis import steps
from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.io.nifti import load_scan
from mri_pipeline.core.io.priors import GEL_NODES_FILE, save_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Affine, BoolArray, FloatArray, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.images import normalise
from mri_pipeline.lesions.gel.evidence import gel_evidence
from mri_pipeline.lesions.gel.nodes import FEATURES, nodes_of
from mri_pipeline.lesions.t2.segment import segment_t2

SLICES = (1, 3, 5)
CLINICAL = (("01", "study1"), ("01", "study2"), ("03", "study1"), ("03", "study2"), ("04", ""))
LESIONS = 10
VOLUMES_MM3 = (40, 450)
APART_MM, FROM_OWN_MM = 12.0, 5.0
FLAIR, T2W, T1W, ENHANCED = (1.20, 1.45), (1.25, 1.60), (0.75, 1.00), (1.18, 1.65)
BLUR_MM = (0.4, 0.9)
LEAST_RING_MM3, RING_MM = 120, 1.5
LESION_SHARE, OTHER_SHARE = 0.4, 0.05


@dataclass(frozen=True)
class Head:
    """A prepared visit with the patient's own lesions, shape (x, y, z)."""

    name: str
    patient: str
    visit: VisitImages
    tissue: TissueMaps
    own: BoolArray


@dataclass(frozen=True)
class Sample:
    """Components of one copy of a head: features, label (1 lesion, 0 other, -1 neither), and the lesions they hit."""

    name: str
    patient: str
    features: FloatArray
    label: FloatArray
    level: FloatArray
    hits: list[list[int]]


def heads(data: Path) -> Iterator[Head]:
    """Prepared heads: research scans at several slice thicknesses, then clinical scans."""
    made = priors(data)
    for name, (folder, mask, left_out) in cases(data).items():
        images, truth = load_case(folder, mask)
        if Contrast.T1W_GD not in images:
            continue
        grid = images[Contrast.FLAIR].grid
        for slices in SLICES:
            visit, tissue = prepare({c: thick(i, slices) for c, i in images.items()}, made[left_out])
            own = thick(Image(truth.astype(np.float32), grid), slices).data > 0.3
            yield Head(f"{name} {slices} mm", left_out, visit, tissue, own)
    for patient, study in CLINICAL:
        folder = data / "ljubljana" / ("longitudinal" if study else "unlabelled") / f"patient{patient}"
        visit, tissue = clinical(folder, study)
        (lesions,) = segment_t2([visit], tissue, LesionRules())
        yield Head(f"{patient} {study}", patient, visit, tissue, lesions.mask.mask)


def clinical(folder: Path, study: str) -> tuple[VisitImages, TissueMaps]:
    """A clinical visit on the grid of its FLAIR; its T1 is used as the T1 after contrast."""
    names = {Contrast.FLAIR: "flair", Contrast.T1W_GD: "t1w", Contrast.T2W: "t2w"}
    files = sorted(f for f in folder.glob("*.nii.gz") if study in f.name)
    images = {
        c: load_scan(f) for c, end in names.items() for f in files if f.name.lower().endswith(f"{end}.nii.gz")
    }
    flair = images[Contrast.FLAIR]
    head = steps.extract_brain(flair)
    to_flair = {Contrast.FLAIR: Affine.identity()}
    for contrast in set(images) - {Contrast.FLAIR}:
        found = steps.register(flair, images[contrast], fixed_brain=head.mask, intra_modal=False)
        if not found.failed:
            to_flair[contrast] = found.moving_to_fixed
    space = steps.subject_space(
        flairs=[flair], brains=[head.mask], templates_to_flair=[head.template_to_image], later_to_first=[]
    )
    brain, _ = steps.brain_of_visit(space.brain, flair, Affine.identity(), whole_brain=space.whole_brain)
    prepared = steps.prepare_visit({c: images[c] for c in to_flair}, to_flair, brain)
    tissue = steps.map_subject_tissue(
        flairs=[prepared[Contrast.FLAIR]],
        t1ws=[prepared[Contrast.T1W_GD]],
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


def insert(head: Head, pool: list[BoolArray], rng: np.random.Generator) -> tuple[Head, list[BoolArray]]:
    """A copy of a head with enhancing lesions in its white matter, and their masks."""
    grid, brain, white = head.visit.grid, head.visit.brain.mask, head.tissue.white_matter.data
    spacing = np.array(grid.spacing_mm)
    free = brain & (white > 0.5) & head.tissue.above_foramen_magnum
    if head.own.any():
        free &= ndimage.distance_transform_edt(~head.own, sampling=spacing) > FROM_OWN_MM
    data = {contrast: image.data.astype(np.float32).copy() for contrast, image in head.visit.contrasts.items()}
    places = rng.permutation(np.argwhere(free))
    masks: list[BoolArray] = []
    for at in places[: 60 * LESIONS]:
        if len(masks) == LESIONS or not free[tuple(at)]:
            continue
        shape = pool[rng.integers(len(pool))]
        shape = np.flip(shape, [a for a in range(3) if rng.random() < 0.5]).transpose(rng.permutation(3))
        solid, blur = np.pad(shape, 8), rng.uniform(*BLUR_MM)
        rim = solid & (ndimage.distance_transform_edt(solid) <= RING_MM)
        ring = shape.sum() >= LEAST_RING_MM3 and rng.random() < 1 / 3
        whole, part = (
            on_grid(ndimage.gaussian_filter(m.astype(np.float32), blur), spacing)
            for m in (solid, rim if ring else solid)
        )
        start = at - np.array(whole.shape) // 2
        if (start < 0).any() or (start + whole.shape > brain.shape).any():
            continue
        box = tuple(slice(s, s + n) for s, n in zip(start, whole.shape, strict=True))
        core, distance = whole > 0.5, ndimage.distance_transform_edt(whole <= 0.5, sampling=spacing)
        around = brain[box] & (white[box] > 0.5) & ~head.own[box] & (distance > 2.0) & (distance <= 6.0)
        if not core.any() or not brain[box][core].all() or free[box][core].mean() < 0.6 or around.sum() < 8:
            continue
        for contrast, limits in ((Contrast.FLAIR, FLAIR), (Contrast.T2W, T2W), (Contrast.T1W, T1W)):
            if contrast in data:
                raise_to(data[contrast][box], whole, core, around, rng.uniform(*limits))
        enhancing = core & (part > 0.5) if (core & (part > 0.5)).any() else core
        raise_to(data[Contrast.T1W_GD][box], part, enhancing, around, rng.uniform(*ENHANCED))
        mask = np.zeros(brain.shape, dtype=bool)
        mask[box] = core
        masks.append(mask)
        free[tuple(places[np.linalg.norm((places - at) * spacing, axis=1) <= APART_MM].T)] = False
    contrasts = {contrast: Image(values, grid) for contrast, values in data.items()}
    return replace(head, visit=VisitImages(contrasts, head.visit.brain)), masks


def raise_to(values: FloatArray, shape: FloatArray, core: BoolArray, around: BoolArray, level: float) -> None:
    """Multiply a box of an image, in place, so that `core` has `level` times the median of `around`."""
    factor = level * float(np.median(values[around])) / max(float(values[core].mean()), 0.1)
    values *= 1.0 + shape * (factor - 1.0)


def sample(head: Head, inserted: list[BoolArray]) -> Sample:
    """Features and labels of the components of a head."""
    grid, settings = head.visit.grid, GelSettings()
    nothing = LabelImage(np.zeros(grid.shape, dtype=np.int32), grid)
    evidence = gel_evidence(head.visit, head.tissue, nothing, settings)
    lesions = np.any([*inserted, np.zeros(grid.shape, dtype=bool)], axis=0)
    near = ndimage.binary_dilation(lesions)
    features, labels, levels, hits = [], [], [], [[] for _ in inserted]
    count = 0
    for level, nodes in enumerate(nodes_of(head.visit, head.tissue, evidence, settings)):
        parts = nodes.components
        share = parts.means(lesions)
        other = (parts.means(near) < OTHER_SHARE) & (parts.means(head.own) < OTHER_SHARE)
        label = np.where(share >= LESION_SHARE, 1.0, -1.0)
        label[other] = -1.0 if inserted else 0.0
        label[~nodes.allowed] = -1.0
        for entry, mask in enumerate(inserted):
            inside = np.unique(parts.number[mask.ravel()[parts.voxels]])
            hits[entry] += [count + int(n) for n in inside if share[n] >= 0.3 and nodes.allowed[n]]
        features.append(nodes.features)
        labels.append(label)
        levels.append(np.full(len(label), level))
        count += len(label)
    return Sample(
        head.name, head.patient, np.vstack(features), np.concatenate(labels), np.concatenate(levels), hits
    )


def fitted(samples: list[Sample]) -> LogisticModel:
    """The model from all components with a label."""
    features = np.vstack([s.features[s.label >= 0] for s in samples])
    label = np.concatenate([s.label[s.label >= 0] for s in samples])
    return fit(features, label, FEATURES)


def report(samples: list[Sample]) -> None:
    """Print what each patient's heads give with the model of the others."""
    for least in (0.4, 0.5, 0.6, 0.7, 0.8):
        found, put, false, heads_ = 0, 0, 0, 0
        by_head = Counter[str]()
        for own in samples:
            model = fitted([s for s in samples if s.patient != own.patient])
            probability = model.probability(own.features)
            put += len(own.hits)
            found += sum(bool(nodes) and probability[nodes].max() >= least for nodes in own.hits)
            if not own.hits:
                accepted = (probability >= least) & (own.label == 0)
                most = max(
                    Counter(own.level[accepted].tolist()).values(), default=0
                )  # a node has one of each level
                false, heads_, by_head[own.name] = false + most, heads_ + 1, most
        print(f"{least}: found {found} of {put}, false {false} in {heads_} untouched heads {dict(by_head)}")


def main() -> None:
    """Insert, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="copies of each head with inserted lesions")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--apart", type=Path, help="folder for the models without each patient, for benchmarks")
    default = Path(__file__).parents[1] / "mri_pipeline" / "data" / GEL_NODES_FILE
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    samples = []
    for head in heads(arguments.data):
        masks = arguments.data / "ljubljana" / "lesion_masks_mni"
        pool = lesion_shapes(masks, head.patient, VOLUMES_MM3)
        samples.append(sample(head, []))
        samples += [sample(*insert(head, pool, rng)) for _ in range(arguments.copies)]
        print(f"{head.name}: {len(samples[-1].label)} components", flush=True)
    report(samples)
    save_model(fitted(samples), arguments.out)
    if arguments.apart:
        arguments.apart.mkdir(parents=True, exist_ok=True)
        for patient in sorted({s.patient for s in samples}):
            model = fitted([s for s in samples if s.patient != patient])
            save_model(model, arguments.apart / f"without_{patient}.json")
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
