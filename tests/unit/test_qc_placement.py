"""Location, coverage and appearance of the brain, on simple heads with the brain of the template."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.sampling import downsample
from qc.acceptance import judge_image
from qc.measures import measure, measure_visit
from qc.placement import SUBCALLOSAL_SLOPE, Placement, measure_brain, place_brain, tilt_deg

PROTOCOL = parse_protocol(protocol_text())
SIGNALS = {
    Contrast.FLAIR: (30.0, 115.0, 100.0),
    Contrast.T1W: (30.0, 70.0, 100.0),
    Contrast.T2W: (270.0, 140.0, 100.0),
}
"""CSF, grey and white matter."""
SLICE_MM = 4.0
LITTLE = {Contrast.FLAIR: Contrast.FLAIR}


def scan(contrast: Contrast = Contrast.FLAIR, *, field: float = 0.0, void_mm: float = 0.0) -> Image:
    """The template with skull and scalp at 2 mm, slices of 4 mm."""
    template = load_template()
    white, grey, brain = (
        downsample(Image(a.astype(np.float32), template.t1.grid), 2.0).data
        for a in (template.white_matter.data, template.grey_matter.data, template.brain.mask)
    )
    fluid_signal, grey_signal, white_signal = SIGNALS[contrast]
    data = fluid_signal * np.clip(brain - white - grey, 0, 1) + grey_signal * grey + white_signal * white
    outside = ndimage.distance_transform_edt(brain < 0.5, sampling=2.0)
    data = np.where((outside > 9) & (outside < 15), 120.0, data)
    grid = downsample(template.t1, 2.0).grid
    x, y, z = np.moveaxis(grid.world(np.indices(grid.shape).reshape(3, -1).T.astype(float)), 1, 0).reshape(
        3, *grid.shape
    )
    data = data * (1 + field * y / 90)
    if void_mm:
        data = np.where((x - 28) ** 2 + (y + 10) ** 2 + (z - 28) ** 2 < (void_mm / 2) ** 2, 0, data)
    draw = np.random.default_rng(1)
    noisy = np.hypot(data + draw.normal(0, 3, data.shape), draw.normal(0, 3, data.shape)).astype(np.float32)
    return every(Image(noisy, grid))


def every(image: Image) -> Image:
    data = np.ascontiguousarray(image.data[..., : image.data.shape[2] // 2 * 2])
    data = (data[..., ::2] + data[..., 1::2]) / 2
    affine = image.grid.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    return Image(data, Grid(data.shape, affine))


def part(image: Image, first: int, last: int) -> Image:
    data = np.ascontiguousarray(image.data[..., first:last])
    affine = image.grid.affine.copy()
    affine[:3, 3] = image.grid.world(np.array([0.0, 0.0, first]))
    return Image(data, Grid(data.shape, affine))


@pytest.fixture(scope="module")
def placed() -> Placement:
    return place_brain(scan(), load_template())


def broken(image: Image, action: Action = Action.QUERY) -> set[str]:
    values = measure_visit({Contrast.FLAIR: image}, LITTLE)[Contrast.FLAIR]
    return {f.rule for f in judge_image(Contrast.FLAIR, values, PROTOCOL) if f.action is action}


def test_a_whole_brain_is_found_the_right_way_up(placed):
    assert placed.similarity > 0.7
    assert placed.upside_down_gain == 0
    values = measure_brain(scan(), placed, load_template())
    assert values.missing_percent < 1
    assert (values.cut_top_mm, values.cut_bottom_mm) == (0, 0)
    assert values.bias_percent < 10
    assert values.void_mm < 6


@pytest.mark.parametrize("contrast", SIGNALS)
def test_each_contrast_has_its_signals(placed, contrast):
    fluid, grey, white = SIGNALS[contrast]
    values = measure_brain(scan(contrast), placed, load_template())
    assert values.fluid_ratio == pytest.approx(fluid / white, abs=0.3)
    assert values.grey_ratio == pytest.approx(grey / white, abs=0.08)


@pytest.mark.parametrize(
    ("sent", "named", "rule"),
    [
        (Contrast.T2W, Contrast.FLAIR, "fluid_signal"),
        (Contrast.FLAIR, Contrast.T2W, "fluid_signal"),
        (Contrast.T1W, Contrast.FLAIR, "grey_signal"),
        (Contrast.FLAIR, Contrast.T1W, "grey_signal"),
    ],
)
def test_another_contrast_than_named_is_a_query(sent, named, rule):
    images = {Contrast.FLAIR: scan(Contrast.FLAIR), named: scan(sent)}
    values = measure_visit(images, {c: c for c in images})[named]
    found = {f.rule for f in judge_image(named, values, PROTOCOL) if f.action is Action.QUERY}
    assert rule in found


def test_missing_slices_are_millimetres_of_brain(placed):
    template, whole = load_template(), scan()
    top = 1 + int(np.flatnonzero(ndimage.binary_opening(whole.data > 60).any(axis=(0, 1))).max())
    values = measure_brain(part(whole, 0, top - 10), placed, template)  # scalp and bone are 15 mm of the 40
    assert values.cut_top_mm == pytest.approx(25, abs=7)
    low = round((-65 + 30 - whole.grid.affine[2, 3]) / SLICE_MM)
    values = measure_brain(part(whole, low, whole.data.shape[2]), placed, template)
    assert values.cut_bottom_mm == pytest.approx(30, abs=6)


def test_empty_slices_cover_nothing(placed):
    image = scan()
    data = image.data.copy()
    data[..., -12:] = 0
    assert measure_brain(Image(data, image.grid), placed, load_template()).cut_top_mm > 10


def test_a_slab_and_half_a_head_are_refused():
    whole = scan()
    middle = whole.data.shape[2] // 2
    assert broken(part(whole, middle - 4, middle + 4), Action.REFUSE) & {
        "brain_missing",
        "no_brain",
        "head_volume",
    }
    assert broken(part(whole, middle + 2, whole.data.shape[2]), Action.REFUSE) & {"brain_missing", "no_brain"}


@pytest.mark.parametrize("contrast", [Contrast.T1W, Contrast.T2W, Contrast.T1W_GD])
def test_a_patient_who_was_repositioned_after_the_flair_is_not_refused(placed, contrast):
    """The head lies whole in both scans; by the headers, half of it lies outside of the second one."""
    other = scan(Contrast.T2W if contrast is Contrast.T2W else Contrast.T1W)
    affine = other.grid.affine.copy()
    affine[2, 3] += 80.0
    moved = Image(other.data, Grid(other.grid.shape, affine))
    brain = measure_brain(moved, placed, load_template())
    assert brain.missing_percent > PROTOCOL.image_quality.max_brain_missing_percent.value
    values = replace(measure(moved, contrast), brain=brain)
    (action,) = [f.action for f in judge_image(contrast, values, PROTOCOL) if f.rule == "brain_missing"]
    assert action is Action.QUERY
    (action,) = [f.action for f in judge_image(Contrast.FLAIR, values, PROTOCOL) if f.rule == "brain_missing"]
    assert action is Action.REFUSE


def test_a_head_upside_down_is_a_query():
    image = scan()
    turned = Image(np.ascontiguousarray(image.data[..., ::-1]), image.grid)
    assert "upside_down" in broken(turned)
    assert "upside_down" not in broken(image)


def test_shading_is_a_query(placed):
    values = [measure_brain(scan(field=f), placed, load_template()).bias_percent for f in (0.0, 0.4, 0.8)]
    assert values == sorted(values)
    assert values[1] > 15
    assert values[2] > PROTOCOL.image_quality.max_bias_percent.value


def test_a_void_is_measured(placed):
    values = [measure_brain(scan(void_mm=d), placed, load_template()).void_mm for d in (20, 35)]
    assert values[0] == pytest.approx(17, abs=5)
    assert values[1] > values[0]


def test_the_subcallosal_line_is_that_of_the_template():
    """The tangent below the corpus callosum, in the white matter of the middle."""
    white = load_template().white_matter
    middle = round(float((np.linalg.inv(white.grid.affine) @ [0, 0, 0, 1])[0]))
    labels, _ = ndimage.label(white.data[middle] > 0.5)
    rows, columns = np.indices(labels.shape)
    y, z = rows + white.grid.affine[1, 3], columns + white.grid.affine[2, 3]
    callosum = (labels == labels[(y == -5) & (z == 26)][0]) & (y > -40) & (z > -15)
    front, back = callosum & (y > 8), callosum & (y < -30)
    rostrum, splenium = (np.argmin(np.where(part, z, np.inf)) for part in (front, back))
    slope = (z.flat[rostrum] - z.flat[splenium]) / (y.flat[rostrum] - y.flat[splenium])
    assert pytest.approx(slope, abs=0.02) == SUBCALLOSAL_SLOPE


@pytest.mark.parametrize("degrees", [0.0, -9.4, 10.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (0.5, 1.0, 4.0)])
def test_the_tilt_is_the_angle_to_the_subcallosal_line(degrees, spacing):
    turn = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[1:3, 1:3] = [[c, -s], [s, c]]  # from back to front the slices rise by this angle
    image = Image(np.zeros((8, 8, 8), np.float32), Grid((8, 8, 8), turn @ np.diag([*spacing, 1.0])))
    here = Placement(Affine.identity(), 0.9, 0.0)
    line = np.degrees(np.arctan(SUBCALLOSAL_SLOPE))
    assert tilt_deg(image, here) == pytest.approx(abs(degrees - line), abs=0.01)
    turned = Placement(Affine(turn), 0.9, 0.0)
    assert tilt_deg(image, turned) == pytest.approx(abs(line), abs=0.01)  # the head is tilted as the slices are


def test_sagittal_slices_have_no_tilt():
    image = Image(np.zeros((8, 8, 8), np.float32), Grid((8, 8, 8), np.diag([3.0, 1.0, 1.0, 1.0])))
    assert tilt_deg(image, Placement(Affine.identity(), 0.9, 0.0)) is None


def test_without_a_flair_the_brain_is_not_measured():
    values = measure_visit({Contrast.T1W: scan(Contrast.T1W)}, {Contrast.T1W: Contrast.T1W})[Contrast.T1W]
    assert values.brain is None
    notes = [f.message for f in judge_image(Contrast.T1W, values, PROTOCOL) if f.rule == "not_measured"]
    assert "T1w: the brain was not measured: no FLAIR in which it was located" in notes
