"""The template's surface finds the edge of heads that are made of the template's brain itself."""

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.images.brain_edge import EdgeSettings, find_edge, signed_distance, template_surface
from mri_pipeline.images.resample import resample

GRID = Grid((100, 120, 60), np.array([[2.0, 0, 0, -99], [0, 2, 0, -135], [0, 0, 3, -82], [0, 0, 0, 1]]))
EXACT = EdgeSettings(margin_mm=0.0, crown_mm=0.0)


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def moved(shift_mm, scale=1.0) -> Affine:
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = shift_mm
    return Affine(matrix)


@pytest.fixture(scope="module")
def brain():
    template = load_template()
    return resample(Image(template.brain.mask.astype(np.float32), template.brain.grid), GRID, order=1).data > 0.5


def test_surface_lies_on_the_brain():
    surface = template_surface(load_template(), EdgeSettings())
    index = surface.depth.grid
    at = (surface.points_mm - index.affine[:3, 3]) @ np.linalg.inv(index.affine[:3, :3]).T
    depth = ndimage.map_coordinates(surface.depth.data, at.T, order=1)
    assert np.abs(depth).mean() < 0.25 * EdgeSettings().surface_mm
    outwards = ndimage.map_coordinates(surface.depth.data, (at + surface.normals).T, order=1)
    assert (outwards < depth).mean() > 0.99
    assert np.allclose(surface.neighbours.sum(axis=1), 1)


@pytest.mark.parametrize("start", [moved((0, 0, 0)), moved((4, -3, 3)), moved((0, 0, 0), 1.05)])
def test_edge_is_found_from_a_wrong_start(brain, start):
    image = Image(100.0 * brain, GRID)
    found = find_edge(image, load_template(), start, settings=EXACT).mask
    assert dice(found, brain) > 0.975


def test_scalp_and_a_bright_orbit_stay_out(brain):
    depth = signed_distance(brain, GRID)
    data = 100.0 * brain + 130.0 * ((depth < -8) & (depth > -14))
    orbit = np.zeros_like(brain)
    orbit[55:65, 95:115, 22:28] = True  # fat that touches the brain
    data = np.where(orbit & ~brain, 150.0, data)
    found = find_edge(Image(data, GRID), load_template(), moved((2, 2, -2))).mask
    assert (found & (depth < -8)).sum() < 1e-3 * found.sum()
    assert (found & orbit & ~brain).sum() < 0.35 * (orbit & ~brain).sum()
    assert brain[found].mean() > 0.95
    assert found[brain].mean() > 0.995


def test_fat_that_reaches_in_is_left_out_and_a_lesion_at_the_surface_is_not(brain):
    depth = signed_distance(brain, GRID)
    x, y, z = GRID.world(np.indices(GRID.shape).reshape(3, -1).T).T.reshape(3, *GRID.shape)
    front, side = (y > 30) & (np.abs(x) < 8) & (z > 0) & (z < 12), (x > 30) & (np.abs(y) < 8) & (z > 20) & (z < 32)
    fat, lesion = front & (depth < 3) & (depth > -12), side & (depth > 0) & (depth < 8)
    data = np.select([fat, lesion, brain], [250.0, 200.0, 100.0])
    found = find_edge(Image(data, GRID), load_template(), Affine.identity()).mask
    assert fat.sum() > 100
    assert not (found & fat).any()
    assert lesion.sum() > 50
    assert found[lesion].all()
    assert found[brain & ~fat].mean() > 0.995


def test_sulci_belong_to_the_brain_and_crowns_are_kept(brain):
    depth = signed_distance(brain, GRID)
    sulci = (np.indices(GRID.shape)[0] % 8 == 0) & (depth < 10)
    data = np.where(sulci, 5.0, 100.0 * brain)
    found = find_edge(Image(data, GRID), load_template(), Affine.identity()).mask
    assert found[brain & ~sulci].mean() > 0.995
    assert found[brain & sulci].mean() > 0.9


def test_the_template_mask_is_kept_where_the_scan_shows_no_edge(brain):
    nothing = find_edge(Image(np.ones(GRID.shape), GRID), load_template(), Affine.identity(), settings=EXACT).mask
    assert dice(nothing, brain) > 0.97
    half = Grid((100, 120, 30), GRID.affine)
    cut = find_edge(Image(100.0 * brain[:, :, :30], half), load_template(), Affine.identity(), settings=EXACT).mask
    assert dice(cut, brain[:, :, :30]) > 0.97


def test_the_scans_scale_and_storage_do_not_matter(brain):
    image = Image(100.0 * brain, GRID)
    found = find_edge(image, load_template(), moved((3, 0, 0)))
    scaled = find_edge(Image(3.7 * image.data, GRID), load_template(), moved((3, 0, 0)))
    assert np.array_equal(scaled.mask, found.mask)
    turned = find_edge(image.reoriented("PIR"), load_template(), moved((3, 0, 0)))
    assert dice(turned.reoriented("RAS").mask, found.mask) > 0.999
