"""Brain, bias, normalisation and tissue on a head made from the template with an anatomy of its own."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.registration.labels import resample_labels
from mri_pipeline.core.anatomy import BELOW_FORAMEN_MAGNUM
from mri_pipeline.core.errors import AnalysisError, GridMismatchError
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.method.tissue import TissueSettings
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.images.bias import correct_bias
from mri_pipeline.images.brain import combine, extract_brain
from mri_pipeline.images.normalise import match_visits, normalise, white_matter_median
from mri_pipeline.images.regions import below_foramen_magnum, infratentorial, location_labels, template_regions
from mri_pipeline.images.resample import resample
from mri_pipeline.images.tissue import map_tissue
from mri_pipeline.images.warp import demons


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def head():
    """FLAIR of 1.2 x 1.2 x 3 mm: brain 6 % smaller, turned and bent, in a dark rim, a skull and a bright scalp."""
    template = load_template()
    grid = Grid((150, 180, 60), np.array([[1.2, 0, 0, -90], [0, 1.2, 0, -125], [0, 0, 3.0, -78], [0, 0, 0, 1]]))
    matrix = np.eye(4)
    matrix[:3, :3] = 0.94 * Rotation.from_euler("xyz", (8, 3, -4), degrees=True).as_matrix()
    matrix[:3, 3] = (4, 6, -3)
    to_head = Affine(matrix)
    index = np.indices(grid.shape, dtype=np.float32)
    pull = np.linalg.inv(template.t1.grid.affine) @ to_head.inverse().matrix @ grid.affine
    at = np.tensordot(pull[:3, :3], index, axes=1) + pull[:3, 3].reshape(3, 1, 1, 1)
    rng = np.random.default_rng(5)
    bend = [ndimage.gaussian_filter(rng.standard_normal(grid.shape), (14, 14, 6)) for _ in range(3)]
    at = at + np.stack([3.0 * b / b.std() for b in bend])

    def pulled(data):
        return ndimage.map_coordinates(np.asarray(data, np.float32), at, order=1)

    brain = pulled(template.brain.mask) > 0.5
    white, grey = pulled(template.white_matter.data), pulled(template.grey_matter.data)
    ventricles = pulled(template_regions(template)[1]) > 0.5
    outside = ndimage.distance_transform_edt(~brain, sampling=grid.spacing_mm)
    scalp = (outside > 9) & (outside < 16) & (grid.world(index.reshape(3, -1).T)[:, 2] > -75).reshape(grid.shape)
    flair = 200 * white + 235 * grey + 40 * (brain - np.minimum(white + grey, 1) * brain)
    flair = np.where(brain, flair, 15 + 120 * scalp) + rng.standard_normal(grid.shape) * 7
    return {
        "flair": Image(np.maximum(flair, 0), grid),
        "brain": LabelImage(brain, grid),
        "white": white,
        "grey": grey,
        "ventricles": ventricles,
        "to_head": to_head,
    }


@pytest.fixture(scope="module")
def found(head):
    return extract_brain(head["flair"], load_template())


def test_brain_of_a_whole_head(head, found):
    assert not found.skull_stripped
    assert found.quality > 0.8
    assert dice(found.mask.mask, head["brain"].mask) > 0.95


@pytest.mark.parametrize("orientation", ["LPS", "PSR"])
def test_brain_does_not_depend_on_the_storage(head, found, orientation):
    turned = extract_brain(head["flair"].reoriented(orientation), load_template())
    assert dice(turned.mask.reoriented("RAS").mask, found.mask.mask) > 0.99


def test_a_stripped_scan_is_recognised_and_kept(head):
    flair = Image(np.where(head["brain"].mask, head["flair"].data + 1, 0), head["flair"].grid)
    stripped = extract_brain(flair, load_template())
    assert stripped.skull_stripped
    assert dice(stripped.mask.mask, head["brain"].mask) > 0.99


def test_a_large_lesion_load_does_not_hurt(head, found):
    white = head["white"] > 0.8
    seeds = np.zeros(white.shape)
    seeds[tuple(np.argwhere(white)[::120].T)] = 1
    lesions = ndimage.binary_dilation(seeds > 0, iterations=2, structure=np.ones((3, 3, 1))) & white
    assert lesions.sum() * head["flair"].grid.voxel_volume_mm3 > 40_000
    flair = Image(np.where(lesions, 330, head["flair"].data), head["flair"].grid)
    assert dice(extract_brain(flair, load_template()).mask.mask, found.mask.mask) > 0.985


def test_no_brain_is_an_analysis_error():
    grid = Grid((60, 60, 30), np.diag([3.0, 3.0, 5.0, 1.0]))
    noise = Image(np.random.default_rng(0).random(grid.shape), grid)
    with pytest.raises(AnalysisError, match="litres, found no brain in the FLAIR"):
        extract_brain(noise, load_template())


@pytest.mark.parametrize("value", [0.0, 100.0, 1234.567])
def test_a_uniform_image_has_no_similarity_with_the_template(value):
    grid = Grid((60, 60, 30), np.diag([3.0, 3.0, 5.0, 1.0]))
    uniform = Image(np.full(grid.shape, value, dtype=np.float32), grid)
    with pytest.raises(AnalysisError, match=r"template similarity 0\.00"):
        extract_brain(uniform, load_template())


def test_masks_are_combined_in_any_order(head):
    grid = head["brain"].grid
    shifted = LabelImage(np.roll(head["brain"].mask, 2, axis=0), grid)
    one, other = combine([head["brain"], shifted]), combine([shifted, head["brain"]])
    assert np.array_equal(one.data, other.data)
    seen = np.ones(grid.shape, dtype=bool)
    seen[:, :, :20] = False
    cut = combine([head["brain"], shifted], fields_of_view=[LabelImage(seen, grid)])
    assert np.array_equal(cut.mask, one.mask & seen)
    assert (one.mask | ~(head["brain"].mask | shifted.mask)).all()
    with pytest.raises(GridMismatchError):
        combine([head["brain"], LabelImage(np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)))])


def test_bias_is_removed_and_lesions_keep_their_contrast(head):
    grid, brain = head["flair"].grid, head["brain"]
    index = np.indices(grid.shape) / np.array(grid.shape).reshape(3, 1, 1, 1)
    field = np.exp(1.0 * (index[0] - 0.5) + 0.8 * (index[1] - 0.4) ** 2 - 0.6 * index[2])
    lesion = np.zeros(grid.shape, dtype=bool)
    lesion[70:80, 70:80, 34:38] = True
    clean = np.where(lesion & brain.mask, 300, head["flair"].data)
    corrected = correct_bias(Image(clean * field, grid), brain)
    white = ndimage.binary_erosion(head["white"] > 0.95) & brain.mask & ~lesion

    def variation(data):
        return data[white].std() / data[white].mean()

    assert variation(clean * field) > 0.12
    assert variation(corrected.data) < variation(clean) + 0.025
    near = ndimage.binary_dilation(lesion, iterations=6) & white
    ratio = [np.median(d[lesion & brain.mask]) / np.median(d[near]) for d in (clean, corrected.data)]
    assert ratio[1] == pytest.approx(ratio[0], rel=0.04)
    with pytest.raises(AnalysisError, match="expected positive intensities in the brain mask, found none"):
        correct_bias(Image(np.zeros(grid.shape), grid), brain)


@pytest.fixture(scope="module")
def maps(head):
    return map_tissue(
        flairs=[head["flair"]], brain=head["brain"], template=load_template(), template_to_subject=head["to_head"]
    )


def test_tissue_follows_the_patient(head, maps):
    brain = head["brain"].mask
    total = maps.white_matter.data + maps.grey_matter.data + maps.csf.data
    assert np.allclose(total[brain], 1, atol=1e-4)
    assert not total[~brain].any()
    assert dice(maps.white_matter.data > 0.5, (head["white"] > 0.5) & brain) > 0.75
    assert dice(maps.grey_matter.data > 0.5, (head["grey"] > 0.5) & brain) > 0.75
    assert (maps.csf.data > 0.5)[head["ventricles"] & brain].mean() > 0.8


def test_beyond_the_field_of_view_of_t1_flair_tells_tissue(head, maps):
    """A T1 with fewer slices than the FLAIR is common; its zeros are no CSF."""
    brain, grid = head["brain"].mask, head["flair"].grid
    t1 = np.where(head["white"] > 0.5, 100, np.where(head["grey"] > 0.5, 70, 25)).astype(np.float32)
    unscanned = np.broadcast_to(np.arange(grid.shape[2]) > 38, grid.shape)
    t1[unscanned] = 0.0
    found = map_tissue(
        flairs=[head["flair"]],
        t1ws=[Image(t1, grid)],
        brain=head["brain"],
        template=load_template(),
        template_to_subject=head["to_head"],
    )
    place = brain & unscanned
    for tissue in ("white_matter", "csf"):
        mean = [float(getattr(maps_, tissue).data[place].mean()) for maps_ in (found, maps)]
        assert mean[0] == pytest.approx(mean[1], abs=0.08)


def test_a_t1_of_less_than_half_the_brain_says_nothing(head, maps):
    t1 = np.where(head["white"] > 0.5, 100, np.where(head["grey"] > 0.5, 70, 25)).astype(np.float32)
    whole, part = Image(t1, head["flair"].grid), t1.copy()
    part[:, :, 24:] = 0.0
    same = {"brain": head["brain"], "template": load_template(), "template_to_subject": head["to_head"]}
    for t1ws, expected in (
        ([whole, Image(part, whole.grid)], map_tissue(flairs=[head["flair"]], t1ws=[whole], **same)),
        ([Image(part, whole.grid)], maps),
    ):
        found = map_tissue(flairs=[head["flair"]], t1ws=t1ws, **same)
        assert np.array_equal(found.white_matter.data, expected.white_matter.data)


def test_ventricles_larger_than_the_templates_are_followed(head):
    large = ndimage.binary_dilation(head["ventricles"], iterations=3, structure=np.ones((3, 3, 1)))
    flair = Image(np.where(large & head["brain"].mask, 35, head["flair"].data), head["flair"].grid)
    maps = map_tissue(
        flairs=[flair], brain=head["brain"], template=load_template(), template_to_subject=head["to_head"]
    )
    assert (maps.csf.data > 0.5)[large].mean() > 0.85
    rim = ndimage.binary_dilation(large, structure=np.ones((3, 3, 1))) & ~large & head["brain"].mask
    assert (maps.location.data == 1)[rim].mean() > 0.75


def test_every_brain_voxel_has_one_place(head, maps):
    assert set(np.unique(maps.location.data[head["brain"].mask])) == {1, 2, 3, 4, BELOW_FORAMEN_MAGNUM}
    assert not maps.location.data[~head["brain"].mask].any()
    points = np.array([[0.0, -60, -35], [0, -28, -30], [22, -10, 38], [0, -40, -58], [0, -45, -68]])
    places = [int(maps.location.data[tuple(at)]) for at in voxels_at(head, points)]
    assert places == [3, 3, 4, 3, BELOW_FORAMEN_MAGNUM]


def voxels_at(head, points_mm):
    """Voxels of the head at points of the template."""
    to_index = np.linalg.inv(head["flair"].grid.affine) @ head["to_head"].matrix
    return np.rint(points_mm @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)


@pytest.mark.requirement("IMAGE-03")
def test_the_brain_ends_at_the_foramen_magnum(head, maps):
    """Whatever the mask holds: each voxel that reaches below it in the template's space, and none above it."""
    brain = head["brain"].mask
    corners = np.array([[a, b, c] for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (-0.5, 0.5)])
    index = (np.argwhere(brain)[:, None] + corners).reshape(-1, 3)
    z = head["to_head"].inverse().points(head["brain"].grid.world(index))[:, 2].reshape(-1, 8).min(axis=1)
    below = maps.location.data[brain] == BELOW_FORAMEN_MAGNUM
    assert np.array_equal(below, z < -65.0)
    assert np.array_equal(maps.above_foramen_magnum[brain], z >= -65.0)
    assert maps.infratentorial[brain][below].all()
    assert below.any()


def test_bright_fluid_beside_the_medulla_is_csf_and_a_lesion_in_it_is_not(head):
    """FLAIR does not suppress CSF that flows; the place tells it from a lesion, even without any other scan."""
    brain, flair = head["brain"], head["flair"].data.copy()
    cistern, medulla = (
        [[x, -48.0, -56.0] for x in (-2, -1, 0, 1, 2)],
        [[x, -40.0, -57.0] for x in (-2, -1, 0, 1, 2)],
    )
    bright = [np.unique(voxels_at(head, np.array(points)), axis=0) for points in (cistern, medulla)]
    for where in bright:
        assert brain.mask[tuple(where.T)].all()
        flair[tuple(where.T)] = 380
    maps = map_tissue(
        flairs=[Image(flair, brain.grid)],
        brain=brain,
        template=load_template(),
        template_to_subject=head["to_head"],
    )
    fluid, lesion = (maps.csf.data[tuple(where.T)] for where in bright)
    assert fluid.min() == 1.0
    assert lesion.max() == 0.0
    total = maps.white_matter.data + maps.grey_matter.data + maps.csf.data
    assert np.allclose(total[brain.mask], 1, atol=1e-4)


def test_places_by_hand():
    grid = Grid((20, 20, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
    brain = np.ones(grid.shape, dtype=bool)
    ventricles, cortex, below, cord = (np.zeros(grid.shape, dtype=bool) for _ in range(4))
    ventricles[10, 10, 4], cortex[0], below[:, :, 0], cord[:5, :, 0] = True, True, True, True
    labels = location_labels(
        brain=brain, ventricles=ventricles, cortex=cortex, below_tentorium=below, below_foramen=cord, grid=grid
    ).data
    assert [labels[10, k, 4] for k in (10, 13, 14)] == [1, 1, 4]
    assert [labels[k, 0, 4] for k in (0, 2, 3)] == [2, 2, 4]
    assert (labels[5:, :, 0] == 3).all()
    assert (labels[:5, :, 0] == BELOW_FORAMEN_MAGNUM).all()
    assert below_foramen_magnum(np.array([[0, -46, -66.0], [0, -46, -64.0]])).tolist() == [True, False]
    inside = [[0.0, -70, -30], [-48, -60, -32], [46, -50, -38]]
    outside = [[40.0, -45, -16], [55, -50, -20], [0, -85, 5], [30, 0, -35]]
    assert infratentorial(np.array(inside)).all()
    assert not infratentorial(np.array(outside)).any()


def test_white_matter_is_one_whatever_the_scale_and_the_lesions(head, maps):
    image = normalise(head["flair"], maps, head["brain"])
    scaled = normalise(Image(head["flair"].data * 7.3, image.grid), maps, head["brain"])
    assert np.allclose(scaled.data, image.data, atol=1e-4)
    assert white_matter_median(image, maps.white_matter, head["brain"]) == pytest.approx(1, abs=1e-5)
    sure = np.flatnonzero((maps.white_matter.data > 0.8).ravel())
    lesions = np.zeros(image.grid.shape, dtype=bool)
    lesions.ravel()[np.random.default_rng(0).choice(sure, len(sure) // 8, replace=False)] = True
    diseased = Image(np.where(lesions, 1.45 * head["flair"].data, head["flair"].data), image.grid)
    again = normalise(diseased, maps, head["brain"])
    rest = ~lesions & head["brain"].mask & (image.data > 0)
    assert np.median(again.data[rest] / image.data[rest]) == pytest.approx(1, abs=0.01)


def test_visits_match_on_normal_tissue_and_keep_their_change(head, maps):
    first = normalise(head["flair"], maps, head["brain"])
    x = np.indices(first.grid.shape)[0] / first.grid.shape[0]
    lesion = np.zeros(first.grid.shape, dtype=bool)
    lesion[60:66, 75:81, 35:37] = True
    new = np.where(lesion, 1.5, first.data)
    second = Image(np.maximum(1 + 1.15 * (new - 1), 0) * np.exp(0.15 * (x - 0.5)), first.grid)
    a, b = match_visits([first, second], maps, head["brain"])
    normal = (maps.white_matter.data > 0.8) & ~lesion
    before = np.abs(second.data - first.data)[normal].mean()
    assert np.abs(b.data - a.data)[normal].mean() < 0.35 * before
    change = (new - first.data)[lesion].mean()
    assert (b.data - a.data)[lesion].mean() == pytest.approx(change, rel=0.15)
    swapped = match_visits([second, first], maps, head["brain"])
    assert np.allclose(swapped[1].data, a.data, atol=1e-5)
    assert match_visits([first], maps, head["brain"])[0] is first


def test_grey_matter_is_as_bright_at_every_visit_and_lesions_stay(head, maps):
    """A sequence with more contrast between grey and white matter: thresholds above grey matter must not differ."""
    first = normalise(head["flair"], maps, head["brain"])
    lesion = np.zeros(first.grid.shape, dtype=bool)
    lesion[60:66, 75:81, 35:37] = True
    lesion &= maps.white_matter.data > 0.9
    grey = (maps.grey_matter.data > 0.9) & head["brain"].mask
    second = Image(first.data + 0.1 * maps.grey_matter.data + 0.5 * lesion, first.grid)
    a, b = match_visits([first, second], maps, head["brain"])
    assert np.median((second.data - first.data)[grey]) > 0.09
    assert abs(np.median((b.data - a.data)[grey])) < 0.01
    assert np.median((b.data - a.data)[lesion]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.real_data
def test_brain_of_a_real_scan(real_data):
    folder = real_data / "ljubljana" / "longitudinal" / "patient01"
    flair = load_image(folder / "study1_FLAIR.nii.gz")
    to_common = load_transform(folder / "study1_FLAIR_to_common_space.txt")
    reference = resample_labels(load_labels(folder / "brainmask.nii.gz"), flair.grid, to_common.inverse())
    result = extract_brain(flair, load_template())
    assert not result.skull_stripped
    assert dice(result.mask.mask, reference.mask) > 0.95


@pytest.mark.real_data
def test_the_template_does_not_swell_to_the_size_of_the_head(real_data):
    """Bright scalp and thin bone: at 8 mm a template as large as the head fits better than the brain."""
    flair = load_image(real_data / "ljubljana" / "unlabelled" / "patient20" / "study2_FLAIR.nii.gz")
    result = extract_brain(flair, load_template())
    assert not result.skull_stripped
    assert 1.1e6 < result.mask.volume_mm3 < 1.5e6
    scalp = flair.data > 3 * np.median(flair.data[result.mask.mask])
    assert np.count_nonzero(scalp & result.mask.mask) < 0.001 * np.count_nonzero(result.mask.mask)


@pytest.mark.real_data
@pytest.mark.parametrize("scan", ["ljubljana/cross_sectional_mni/patient19", "mslesseg/P14/T2"])
def test_real_stripped_scans(real_data, scan):
    flair = load_image(real_data / scan / "FLAIR.nii.gz")
    result = extract_brain(flair, load_template())
    assert result.skull_stripped
    assert dice(result.mask.mask, ndimage.binary_fill_holes(flair.data > 0)) > 0.99
    template = load_template()
    prior = resample(
        Image(template.brain.mask.astype(np.float32), template.brain.grid),
        flair.grid,
        result.template_to_image,
        order=1,
    )
    assert dice(prior.data > 0.5, result.mask.mask) > 0.93


@pytest.mark.parametrize(
    "change",
    [
        {"warp_iterations": 5}, {"warp_update_sigma_mm": 8.0}, {"warp_field_sigma_mm": 20.0},
        {"warp_longest_step_mm": 0.2}, {"warp_difference_weight": 4.0},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_of_the_warp_has_an_effect(change):
    grid = Grid((24, 24, 24), np.diag([4.0, 4.0, 4.0, 1.0]))
    ball = ((np.indices(grid.shape) - 12) ** 2).sum(axis=0) < 40
    channels = [ball.astype(np.float32)], [np.roll(ball, 1, axis=0).astype(np.float32)]
    default = demons(*channels, grid, TissueSettings())
    assert np.abs(default).max() > 0.3
    assert not np.array_equal(demons(*channels, grid, TissueSettings(**change)), default)
