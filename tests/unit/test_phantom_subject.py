"""One whole simulated patient; the head is built once for all tests here."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.simulated import truth_on_grid
from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import Affine, Grid, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.acquire import rigid
from mri_pipeline.phantom.anatomy import AnatomyTraits, Tissue, random_deformation, template_head
from mri_pipeline.phantom.designs import VISITS, active_subject
from mri_pipeline.phantom.histories import stable
from mri_pipeline.phantom.placing import place_lesions
from mri_pipeline.phantom.subject import simulate_subject, simulate_visit, truth_masks
from mri_pipeline.phantom.truth import subject_truth

SEED = 77


@pytest.fixture(scope="module")
def subject():
    return simulate_subject(SEED, VISITS, plans=active_subject().plans, missing=("wk12",))


@pytest.fixture(scope="module")
def scan(subject):
    return simulate_visit(subject, "wk04")


def _median(scan, contrast, subject, labels):
    image = scan.images[contrast]
    if labels.sum() > 50_000:  # large tissues: a slab through the ventricles is enough
        labels = labels & (np.abs(np.arange(labels.shape[2]) - 118) < 7)
    mask = truth_on_grid(
        LabelImage(labels, subject.anatomy.grid), scan.subject_to_scanner[contrast], image.grid
    ).mask
    assert mask.sum() > 20
    return float(np.median(image.data[mask]))


def test_fractions_never_exceed_a_voxel(subject):
    total = np.sum(list(subject.anatomy.fractions.values()), axis=0, dtype=np.uint16)
    assert total.max() <= 255 + 3  # whole numbers: rounding of three tissues
    # the brain is full of tissue: no holes of air inside the skull
    white = subject.anatomy.fractions[Tissue.WHITE] > 200
    assert total[white].min() > 240


def test_volumes_of_a_human_head(subject):
    ml = {t: float(f.sum(dtype=np.float64)) / 255e3 for t, f in subject.anatomy.fractions.items()}
    assert 450 < ml[Tissue.WHITE] < 750
    assert 550 < ml[Tissue.GREY] + ml[Tissue.DEEP_GREY] < 950
    assert 1 <= (ml[Tissue.GREY] + ml[Tissue.DEEP_GREY]) / ml[Tissue.WHITE] <= 1.6
    assert 0.5 < ml[Tissue.CHOROID_PLEXUS] < 4
    assert 8 < ml[Tissue.VEIN] < 40
    assert 8 < ml[Tissue.EYE] < 20
    ventricles = (subject.anatomy.ventricle_distance_mm <= 0).sum() / 1000
    assert 8 < ventricles < 90


def test_every_person_has_an_own_anatomy(subject):
    own, template = subject.anatomy, template_head()
    moved = np.linalg.norm(random_deformation(SEED, own.traits).displacement_mm, axis=0)
    inside = template.brain[::4, ::4, ::4][: moved.shape[0], : moved.shape[1], : moved.shape[2]] > 0
    moved = moved[tuple(slice(n) for n in inside.shape)][inside]
    assert 2.0 < np.median(moved) < 10.0
    grey = own.fractions[Tissue.GREY] > 128
    overlap = 2 * (grey & (template.grey > 0.5)).sum() / (grey.sum() + (template.grey > 0.5).sum())
    assert overlap < 0.8


def test_the_deformation_is_smooth_and_its_inverse_is_exact():
    traits = AnatomyTraits(ventricle_growth_mm=3.0)
    deformation = random_deformation(5, traits)
    jacobian = np.stack([np.stack(np.gradient(d, 4.0)) for d in deformation.displacement_mm]) + np.eye(3).reshape(
        3, 3, 1, 1, 1
    )
    assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0.05
    points = np.random.default_rng(0).uniform(-60, 60, (50, 3)) + np.array([0, -18, 10])
    person = deformation.to_person(points)
    index = (person - np.array([-100.0, -136, -104])).round().astype(int)
    for point, voxel in zip(points, index, strict=True):
        back = deformation.coordinates((1, 1, 1), 1, tuple(voxel))[:, 0, 0, 0] + np.array([-100.0, -136, -104])
        assert np.abs(back - point).max() < 1.5  # a voxel's rounding


def test_wider_ventricles_are_wider():
    volumes = []
    for growth in (-0.5, 2.5):
        distance = random_deformation(5, AnatomyTraits(ventricle_growth_mm=growth))
        coordinates = distance.coordinates((101, 126, 107), 2, (0, 0, 0))
        ventricle = ndimage.map_coordinates(
            template_head().ventricle_distance_mm, coordinates, order=1, mode="nearest"
        )
        volumes.append((ventricle < 0).sum() * 8 / 1000)
    assert volumes[1] > 1.35 * volumes[0]


def test_lesions_have_the_planned_volumes_and_lie_apart(subject):
    labels = truth_masks(subject, "wk04")["t2"]
    for lesion in subject.lesions:
        planned = lesion.plan.phases[1].volume_mm3
        assert (labels.data == lesion.lesion_id).sum() == pytest.approx(planned, abs=1)
        grown = lesion.mask(1.2 * planned)
        assert (lesion.t2_mask(1) <= grown).all()  # nested
    count = ndimage.label(labels.mask, np.ones((3, 3, 3)))[1]
    assert count == subject_truth(subject, "A").counts[1].t2_count
    # even on 3 mm slices no two lesions melt into one: 5 mm of tissue between them
    for lesion in subject.lesions[:6]:
        box = tuple(slice(s.start - 6, s.stop + 6) for s in lesion.box)
        distance = ndimage.distance_transform_edt(labels.data[box] != lesion.lesion_id)
        others = (labels.data[box] > 0) & (labels.data[box] != lesion.lesion_id)
        assert distance[others].min(initial=99) > 5


def test_lesions_lie_where_their_names_say_and_never_in_csf(subject):
    anatomy = subject.anatomy
    fluid = anatomy.fraction(Tissue.CSF, Tissue.FLOWING_CSF)
    for lesion in subject.lesions:
        mask = lesion.mask(lesion.plan.largest_mm3)
        assert fluid[lesion.box][mask].mean() < 0.1
        distance = anatomy.ventricle_distance_mm[lesion.box][mask].min()
        cortex = anatomy.cortex_distance_mm[lesion.box][mask].min()
        if lesion.plan.location is Location.PERIVENTRICULAR:
            assert distance <= 3.5
        elif lesion.plan.location is Location.JUXTACORTICAL:
            assert cortex <= 2.5
            assert distance > 5
        elif lesion.plan.location is Location.INFRATENTORIAL:
            assert anatomy.infratentorial[lesion.box][mask].mean() > 0.8
        else:
            assert distance > 3


def test_shapes_are_neither_balls_nor_boxes(subject):
    for lesion in subject.lesions:
        mask = lesion.mask(lesion.plan.largest_mm3)
        where = np.argwhere(mask)
        extent = np.ptp(where, axis=0) + 1
        assert 0.2 < len(where) / extent.prod() < 0.75  # a box fills its bounding box, an ellipsoid half of it
        assert not np.concatenate([mask[0], mask[-1]]).any()  # nor is it cut by its box


def test_a_ring_has_a_dark_centre(subject):
    ring = next(x for x in subject.lesions if any(p.ring for p in x.plan.phases))
    visit = next(i for i, p in enumerate(ring.plan.phases) if p.ring)
    gel = ring.gel_mask(visit)
    core = ring.mask(0.3 * ring.plan.phases[visit].volume_mm3)
    assert not (core & gel).any()
    wall = ndimage.binary_dilation(core) & ~core
    assert gel[wall].mean() > 0.7  # rings of MS may be open, most often towards the cortex
    assert ndimage.label(gel, np.ones((3, 3, 3)))[1] == 1
    assert (gel <= ring.t2_mask(visit)).all()


def test_contrasts_are_in_the_order_a_radiologist_expects(subject, scan):
    own = subject.anatomy.fractions
    white, grey = own[Tissue.WHITE] > 250, own[Tissue.GREY] > 235
    fluid = (own[Tissue.CSF] > 250) & (subject.anatomy.ventricle_distance_mm <= 0)
    lesions = truth_masks(subject, "wk04")["t2"].mask
    white &= ~ndimage.binary_dilation(lesions, iterations=3)
    relative = {
        c: [_median(scan, c, subject, m) / _median(scan, c, subject, white) for m in (fluid, grey, lesions)]
        for c in scan.images
    }
    assert (
        relative[Contrast.FLAIR][0]
        < 0.4
        < 1.1
        < relative[Contrast.FLAIR][1]
        < 1.3
        < relative[Contrast.FLAIR][2]
        < 1.6
    )
    assert relative[Contrast.T1W][0] < 0.5 < relative[Contrast.T1W][1] < 0.9
    assert 1.2 < relative[Contrast.T2W][1] < relative[Contrast.T2W][2] < relative[Contrast.T2W][0]


def test_enhancement_vessels_and_choroid_plexus_are_bright_after_contrast_only(subject, scan):
    own = subject.anatomy.fractions
    white = own[Tissue.WHITE] > 250
    gel = truth_masks(subject, "wk04")["gel"].mask
    for mask, least in ((gel, 1.3), (own[Tissue.VEIN] > 250, 1.5), (own[Tissue.CHOROID_PLEXUS] > 200, 1.3)):
        before, after = (
            _median(scan, c, subject, mask) / _median(scan, c, subject, white)
            for c in (Contrast.T1W, Contrast.T1W_GD)
        )
        assert after > least
        assert before < 1.0


def test_black_holes_are_darker_than_grey_matter_on_t1(subject, scan):
    grey = _median(scan, Contrast.T1W, subject, subject.anatomy.fractions[Tissue.GREY] > 235)
    masks = truth_masks(subject, "wk04")
    assert _median(scan, Contrast.T1W, subject, masks["bh"].mask) < 0.92 * grey
    assert _median(scan, Contrast.T1W, subject, masks["t2"].mask & ~masks["bh"].mask) > grey
    assert (masks["bh"].mask <= masks["t2"].mask).all()


def test_visits_and_series_lie_differently_and_sessions_repeat(subject, scan):
    other = simulate_visit(subject, "wk00", series={Contrast.FLAIR: scan.acquisitions[Contrast.FLAIR]})
    points = np.array([[0.0, -18, 7], [50, 30, 20], [-40, -80, -30]])

    def apart(a, b):
        return np.linalg.norm(a.points(points) - b.points(points), axis=1).max()

    poses = scan.subject_to_scanner
    assert apart(poses[Contrast.FLAIR], other.subject_to_scanner[Contrast.FLAIR]) > 2
    assert 0.05 < apart(poses[Contrast.FLAIR], poses[Contrast.T1W]) < 4
    again = simulate_visit(subject, "wk00", series={Contrast.FLAIR: scan.acquisitions[Contrast.FLAIR]})
    assert np.array_equal(again.images[Contrast.FLAIR].data, other.images[Contrast.FLAIR].data)


def test_an_unknown_and_a_missing_visit_cannot_be_scanned(subject):
    with pytest.raises(UsageError, match="expected a visit of this subject"):
        simulate_visit(subject, "wk99")
    with pytest.raises(UsageError, match="which is missing"):
        simulate_visit(subject, "wk12")
    with pytest.raises(UsageError, match="plans with 2 phases"):
        simulate_subject(1, ("wk00", "wk04"), plans=active_subject().plans)


def test_truth_on_a_scans_grid_keeps_volume_place_and_labels(subject, scan):
    truth = truth_masks(subject, "wk04")["t2"]
    same = truth_on_grid(truth, Affine.identity(), truth.grid)
    assert np.array_equal(same.data, truth.data)
    pose = scan.subject_to_scanner[Contrast.FLAIR]
    moved = truth_on_grid(truth, pose, scan.images[Contrast.FLAIR].grid)
    assert moved.volume_mm3 == pytest.approx(truth.volume_mm3, rel=0.12)
    for label in range(1, 6):
        before = truth.grid.world(np.argwhere(truth.data == label)).mean(axis=0)
        after = moved.grid.world(np.argwhere(moved.data == label)).mean(axis=0)
        assert np.linalg.norm(pose.points(before[None])[0] - after) < 1.0
    fine = Grid((60, 60, 60), rigid((10, 5, 0), (-20, -30, 0)).matrix @ np.diag([0.8, 0.8, 0.8, 1.0]))
    assert truth_on_grid(LabelImage(truth.data * 0, truth.grid), pose, fine).volume_mm3 == 0


def test_the_same_seed_gives_the_same_patient(subject):
    again = place_lesions(subject.anatomy, active_subject().plans, seed=SEED)
    for one, two in zip(subject.lesions, again, strict=True):
        assert one.box == two.box
        assert np.array_equal(one.level, two.level)
    first, second = (random_deformation(SEED, AnatomyTraits.random(SEED)).displacement_mm for _ in range(2))
    assert np.array_equal(first, second)


def test_lesions_at_the_edge_of_the_grid_keep_apart(subject):
    """The field of view ends within white matter; the gap around a lesion ends with it."""
    anatomy = subject.anatomy
    white = anatomy.fractions[Tissue.WHITE] > 200
    bottom = int(np.median(np.argwhere(white & anatomy.infratentorial)[:, 2]))
    part = (slice(None), slice(None), slice(bottom, bottom + 24))
    cut = replace(
        anatomy,
        grid=Grid(anatomy.cortex_distance_mm[part].shape, anatomy.grid.affine),
        fractions={tissue: fraction[part] for tissue, fraction in anatomy.fractions.items()},
        ventricle_distance_mm=anatomy.ventricle_distance_mm[part],
        cortex_distance_mm=anatomy.cortex_distance_mm[part],
        infratentorial=anatomy.infratentorial[part],
    )
    lesions = place_lesions(cut, [stable(Location.INFRATENTORIAL, 40.0, 1)] * 6, seed=3, gap_mm=3.0)
    assert min(lesion.box[2].start for lesion in lesions) == 0
    masks = []
    for lesion in lesions:
        mask = np.zeros(cut.grid.shape, bool)
        mask[lesion.box] = lesion.mask(40.0)
        masks.append(mask)
    for number, mask in enumerate(masks):
        others = np.any([m for n, m in enumerate(masks) if n != number], axis=0)
        assert ndimage.distance_transform_edt(~others)[mask].min() > 3.0
