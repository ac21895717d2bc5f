"""The region of the face: it holds eyes, nose and ears in every grid, and no brain."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, LabelImage
from mri_pipeline.images.brain import extract_brain
from mri_pipeline.images.face import MARGIN_MM, face_region
from mri_pipeline.images.resample import resample, resample_nearest
from mri_pipeline.phantom.anatomy import Tissue, random_deformation
from mri_pipeline.phantom.tissues import random_anatomy

BRAIN = (Tissue.GREY, Tissue.DEEP_GREY, Tissue.IRON, Tissue.WHITE)


def grid_of(spacing, degrees=(0, 0, 0), shape=(200, 250, 210)):
    """A grid over the whole head, with its axes turned about the head's centre."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    count = tuple(int(np.ceil(n / s)) for n, s in zip(shape, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (0, -10, 0) - affine[:3, :3] @ ((np.array(count) - 1) / 2)
    return Grid(count, affine)


GRIDS = {
    "isotropic": grid_of((1.5, 1.5, 1.5)),
    "thick axial": grid_of((1.0, 1.0, 6.0)),
    "thick sagittal": grid_of((5.0, 1.0, 1.0)),
    "thick coronal": grid_of((1.0, 5.0, 1.0)),
    "oblique": grid_of((1.0, 1.0, 4.0), degrees=(-20, 5, 4)),
    "flipped": Grid((210, 200, 125), np.array([[0, -1, 0, 99], [0, 0, 2, -130], [-1, 0, 0, 106], [0, 0, 0, 1.0]])),
}


@pytest.fixture(scope="module")
def head():
    """A simulated head with a face, its brain at 1 mm, and the best affine of the template to it."""
    anatomy = random_anatomy(3)
    template = load_template()
    points = template.brain.grid.world(np.argwhere(template.brain.mask)[::500].astype(float))
    person = random_deformation(3, anatomy.traits).to_person(points)
    solved, *_ = np.linalg.lstsq(np.column_stack([points, np.ones(len(points))]), person, rcond=None)
    matrix = np.eye(4)
    matrix[:3] = solved.T
    to_person = Affine(matrix)
    brain = (anatomy.fraction(*BRAIN, Tissue.CSF, Tissue.FLOWING_CSF) > 0.5) & (
        resample_nearest(template.brain, anatomy.grid, to_person).mask
    )
    world = anatomy.grid.world(np.argwhere(anatomy.fraction(*Tissue) > 0.3).astype(float))
    return {"anatomy": anatomy, "brain": LabelImage(brain, anatomy.grid), "to_person": to_person, "head_mm": world}


def voxels_of(grid, points_mm):
    index = np.rint(Affine(np.linalg.inv(grid.affine)).points(points_mm)).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
    return tuple(index[inside].T)


@pytest.mark.parametrize("name", GRIDS)
def test_eyes_and_face_are_blanked_and_no_brain_voxel(head, name):
    grid = GRIDS[name]
    brain = resample_nearest(head["brain"], grid)
    face = face_region(brain, load_template(), head["to_person"])
    assert not (face.mask & brain.mask).any()
    anatomy = head["anatomy"]
    eyes = anatomy.grid.world(np.argwhere(anatomy.fraction(Tissue.EYE) > 0.3).astype(float))
    at = voxels_of(grid, eyes)
    assert len(at[0]) > 0.9 * len(eyes)
    assert face.mask[at].mean() > 0.99  # the eyes of this stylised head reach to the margin of the brain
    # all of the head in front of the brain and below the forehead, in the template's coordinates
    template_mm = head["to_person"].inverse().points(head["head_mm"])
    front = head["head_mm"][(template_mm[:, 1] > 80) & (template_mm[:, 2] < -20)]
    assert len(front) > 5_000
    assert face.mask[voxels_of(grid, front)].all()
    # ... and the back and the top of the head stay
    rest = head["head_mm"][(template_mm[:, 1] < -75) | (template_mm[:, 2] > 20)]
    assert not face.mask[voxels_of(grid, rest)].any()


def test_the_margin_around_the_brain_is_kept(head):
    grid = GRIDS["isotropic"]
    brain = resample_nearest(head["brain"], grid)
    face = face_region(brain, load_template(), head["to_person"])
    close = face_region(brain, load_template(), head["to_person"], margin_mm=0.0)
    assert not (face.mask & ~close.mask).any()
    centres, blanked = (grid.world(np.argwhere(mask).astype(float)) for mask in (brain.mask, face.mask))
    assert cKDTree(blanked).query(centres, distance_upper_bound=MARGIN_MM + 1.0)[0].min() > MARGIN_MM
    assert np.count_nonzero(close.mask) > np.count_nonzero(face.mask)


@pytest.mark.parametrize("shift", range(5))
def test_a_thick_voxel_that_the_region_only_touches_is_blanked(shift):
    template = load_template()
    affine = np.array([[2.0, 0, 0, -100], [0, 5, 0, -135 + shift], [0, 0, 2, -130], [0, 0, 0, 1]])
    grid = Grid((101, 46, 110), affine)
    face = face_region(resample_nearest(template.brain, grid), template, Affine.identity())
    edge = np.array([[x, -19.9, z] for x in (-40.0, 0.0, 40.0) for z in (-120.0, -110.0)])
    assert face.mask[voxels_of(grid, edge)].all()
    assert not face.mask[voxels_of(grid, edge - (0, 6, 0))].any()


def test_both_ears_are_blanked():
    template = load_template()
    grid = grid_of((1.0, 1.0, 3.0), shape=(210, 250, 210))
    brain = resample_nearest(template.brain, grid)
    face = face_region(brain, template, Affine.identity())
    for side in (-1, 1):
        ear = np.array([[side * 80.0, -30.0, -60.0], [side * 90.0, -45.0, -40.0]])
        assert face.mask[voxels_of(grid, ear)].all()
        assert not face.mask[voxels_of(grid, np.array([[side * 80.0, -30.0, 20.0]]))].any()


@pytest.mark.parametrize("shift_mm", [(0, 25, 0), (0, 0, -25), (25, 0, 0)])
def test_a_template_at_the_wrong_place_is_refused(head, shift_mm):
    brain = resample_nearest(head["brain"], GRIDS["isotropic"])
    moved = np.eye(4)
    moved[:3, 3] = shift_mm
    with pytest.raises(AnalysisError, match=r"expected the template to match the brain .*face cannot be located"):
        face_region(brain, load_template(), Affine(moved) @ head["to_person"])


def test_an_empty_brain_mask_is_refused():
    grid = GRIDS["thick axial"]
    with pytest.raises(AnalysisError, match=r"found 0\.00: the face cannot be located"):
        face_region(LabelImage(np.zeros(grid.shape, np.uint8), grid), load_template(), Affine.identity())


@pytest.mark.real_data
@pytest.mark.slow
def test_no_brain_voxel_of_real_heads_is_blanked(real_data):
    """Nine raw 2D scans; patient 01 also with the mask of the publishers, in the common space of its visits."""
    root = real_data / "ljubljana"
    scans = sorted([*root.glob("longitudinal/*/*_FLAIR.nii.gz"), *root.glob("unlabelled/*/*_FLAIR.nii.gz")])
    assert len(scans) == 9
    for path in scans:
        flair = load_image(path).reoriented()
        found = extract_brain(flair, load_template())
        face = face_region(found.mask, load_template(), found.template_to_image)
        assert not (face.mask & found.mask.mask).any()
        # head, by intensity: the publishers removed the face itself
        level = 0.1 * np.median(flair.data[found.mask.mask])
        assert np.count_nonzero(face.mask & (flair.data > level)) * flair.grid.voxel_volume_mm3 > 30_000
        if path.parent.name == "patient01":
            to_common = load_transform(path.with_name(path.name.replace(".nii.gz", "_to_common_space.txt")))
            published = load_labels(path.with_name("brainmask.nii.gz"))
            there = resample_nearest(face, published.grid, to_common)
            assert not (there.mask & published.mask).any()


@pytest.mark.real_data
def test_a_skull_stripped_scan_has_no_signal_to_blank(real_data):
    flair = load_image(real_data / "ljubljana/cross_sectional_mni/patient07/FLAIR.nii.gz").reoriented()
    found = extract_brain(flair, load_template())
    assert found.skull_stripped
    face = face_region(found.mask, load_template(), found.template_to_image)
    assert face.mask.any()
    assert not flair.data[face.mask].any()
    assert np.array_equal(resample(flair, flair.grid).data[face.mask], flair.data[face.mask])
