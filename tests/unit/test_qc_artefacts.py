"""Each artefact is found by its measure, also where the air is blanked; an untouched head triggers nothing."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import ndimage

from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import judge_image
from qc.head import head_mask
from qc.measures import measure, measure_visit
from qc.quality_rules import SLICE_RULES
from qc.slices.measures import measure_slices
from qc.slices.stack import slice_stack
from qc.spectrum import difference_gain
from tests.unit.test_qc_measures import changed, head
from tests.unit.test_qc_placement import scan

PROTOCOL = parse_protocol(protocol_text())
MIDDLE = 26


@pytest.fixture(scope="module")
def clean() -> Image:
    image = scan()
    turned = ndimage.rotate(
        image.data, 6, axes=(0, 1), reshape=False, order=1
    )  # no head is as symmetric as the template
    image = changed(image, turned)
    return changed(image, np.where(ndimage.binary_dilation(head_mask(image), iterations=2), image.data, 0))


def broken(image: Image) -> set[str]:
    return {
        f.rule
        for f in judge_image(Contrast.FLAIR, measure(image, Contrast.FLAIR), PROTOCOL)
        if f.action == "query"
    }


def slices(data: np.ndarray, change) -> np.ndarray:
    data = data.copy()
    change(data)
    return data


def displaced(data):
    data[..., MIDDLE] = np.roll(data[..., MIDDLE], 2, axis=0)  # 4 mm


def interleaved(data):
    data[..., 1::2] = ndimage.shift(data[..., 1::2], (0.75, 0, 0), order=1)  # 1.5 mm


def dark(data):
    data[..., MIDDLE] *= 0.3  # its own head mask has a hole


def odd_even(data):
    data[..., 1::2] *= 1.15


def doubled(data):
    noise = np.random.default_rng(2).normal(0, 3, data.shape[:2])
    data[..., MIDDLE] = np.abs(data[..., MIDDLE - 1] + noise)


def ghost(data):
    # the phase of the copy differs from that of the head
    mixed = np.abs(data + 0.4 * np.exp(0.8j) * np.roll(data, data.shape[0] // 2, axis=0))
    data[...] = np.where(data > 0, mixed, 0)


def rectangular_ghost(data):
    # 80 % of the lines of the image were acquired: half of the field of view is 0.4 of the image
    shift = round(0.4 * data.shape[0])
    copies = (np.roll(data, shift, axis=0) + np.roll(data, -shift, axis=0)) / 2
    mixed = np.abs(data + 0.4 * np.exp(0.8j) * copies)
    data[...] = np.where(data > 0, mixed, 0)


def spike(data):
    x, y = np.indices(data.shape[:2])
    data[..., MIDDLE] = np.abs(data[..., MIDDLE] + 20 * np.cos(2 * np.pi * (0.17 * x + 0.11 * y)))


def zipper(data):
    data[60] = np.abs(data[60] + np.random.default_rng(2).normal(0, 80, data.shape[1:]))


def saturated(data):
    np.minimum(data, np.percentile(data[data > 0], 90), out=data)


def blurred(data):
    data[...] = ndimage.gaussian_filter(data, (1.5, 1.5, 0))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (displaced, "slice_displacement"),
        (interleaved, "interleave"),
        (dark, "slice_step"),
        (odd_even, "alternation"),
        (doubled, "doubled_slice"),
        (ghost, "ghost_in_head"),
        (rectangular_ghost, "ghost_in_head"),
        (spike, "spike"),
        (zipper, "line"),
        (saturated, "saturation"),
        (blurred, "sharpness"),
    ],
)
def test_an_artefact_is_found_in_blanked_air(clean, change, rule):
    assert rule not in broken(clean)
    assert rule in broken(changed(clean, slices(clean.data, change)))


def test_displacements_are_in_mm(clean):
    for pixels in (2, 4):
        data = clean.data.copy()
        data[..., MIDDLE] = np.roll(data[..., MIDDLE], pixels, axis=1)
        found = measure(changed(clean, data), Contrast.FLAIR).slices
        assert found is not None
        assert found.displacement_mm == pytest.approx(2 * pixels, abs=0.5)


def moving(data, axis):
    """The head moves by some millimetres while the lines of each slice are acquired; phase encoding along `axis`."""
    draw = np.random.default_rng(3)
    lines = data.shape[axis]
    frequency = np.fft.fftfreq(lines)
    moved = np.moveaxis(data, axis, 0)
    for k in range(data.shape[2]):
        shift = np.zeros(lines)
        for _ in range(6):
            start = int(draw.integers(lines))
            shift[start : start + int(draw.integers(4, lines // 6))] += draw.normal(0, 2)
        phase = np.exp(-2j * np.pi * frequency * np.where(np.abs(frequency) < 0.01, 0, shift))
        moved[..., k] = np.abs(np.fft.ifft(np.fft.fft(moved[..., k], axis=0) * phase[:, None], axis=0))


@pytest.mark.parametrize(("axis", "least", "most"), [(0, 0.0, 0.75), (1, 1.3, np.inf)])
def test_motion_within_slices_changes_the_detail_of_one_direction(clean, axis, least, most):
    usual = measure(clean, Contrast.FLAIR).slices.coherence_ratio
    data = clean.data.copy()
    moving(data, axis)
    data[clean.data == 0] = 0  # blanked air
    found = measure(changed(clean, data), Contrast.FLAIR).slices.coherence_ratio
    assert least * usual < found < most * usual


def test_the_detail_of_slices_that_are_not_axial_is_not_compared():
    stack = slice_stack(scan(), head_mask(scan()))
    assert stack.axial
    assert measure_slices(replace(stack, axial=False)).coherence_ratio is None


@pytest.mark.parametrize("factor", [0.3, 0.02])
def test_two_dark_slices_side_by_side_are_found(clean, factor):
    """The mask of the head does not contain them."""
    data = clean.data.copy()
    data[..., MIDDLE : MIDDLE + 2] *= factor
    found = measure(changed(clean, data), Contrast.FLAIR).slices
    usual = measure(clean, Contrast.FLAIR).slices
    assert found.step_percent > 20
    assert usual.step_percent < 20
    assert found.displacement_mm < 2.5


def test_slices_that_were_not_measured_are_notes():
    """No interior: neither a value that meets the limits nor one that does not."""
    stack = slice_stack(scan(), head_mask(scan()))
    unknown = measure_slices(replace(stack, inside=np.zeros_like(stack.inside)))
    assert set(asdict(unknown).values()) == {None}
    values = replace(measure(scan(), Contrast.FLAIR), slices=unknown)
    rules = {rule.name for rule in SLICE_RULES}
    found = [f for f in judge_image(Contrast.FLAIR, values, PROTOCOL) if f.rule in rules]
    assert len(found) == len(rules)
    assert {f.action for f in found} == {"note"}


def test_a_slice_that_was_not_measured_leaves_the_others(clean):
    stack = slice_stack(clean, head_mask(clean))
    inside = stack.inside.copy()
    inside[stack.middle[10]] = False
    usual, found = (asdict(measure_slices(s)) for s in (stack, replace(stack, inside=inside)))
    assert found == pytest.approx(usual, rel=0.5, abs=0.5)


def test_a_contrast_that_was_not_measured_is_a_note():
    """An object of which no part lies 20 mm below its surface."""
    image = head(Contrast.FLAIR)
    data = image.data.copy()
    data[:37] = data[-37:] = data[:1]  # air
    values = measure(changed(image, data), Contrast.FLAIR)
    assert values.snr is not None
    assert values.cnr is None
    (cnr,) = [f for f in judge_image(Contrast.FLAIR, values, PROTOCOL) if f.rule == "cnr"]
    assert cnr.action == "note"


def test_nan_meets_no_limit():
    values = replace(measure(head(Contrast.FLAIR), Contrast.FLAIR), snr=float("nan"))
    (snr,) = [f for f in judge_image(Contrast.FLAIR, values, PROTOCOL) if f.rule == "snr"]
    assert snr.action == "note"


def test_a_3d_scan_has_no_slices_to_compare():
    image = head(Contrast.FLAIR)
    grid = replace(image.grid, affine=np.diag([1.5, 1.5, 1.5, 1.0]))
    found = measure(Image(image.data, grid), Contrast.FLAIR)
    assert found.slices is None
    notes = [f.message for f in judge_image(Contrast.FLAIR, found, PROTOCOL) if f.rule == "not_measured"]
    assert "FLAIR: slices were not compared with their neighbours: 3D, or too few slices" in notes


def test_the_header_says_what_is_3d_whatever_the_voxels():
    thick = head(Contrast.T1W)
    thin = Image(thick.data, replace(thick.grid, affine=np.diag([1.5, 1.5, 1.5, 1.0])))

    def compared(image, stated):
        found = measure_visit({Contrast.T1W: image}, {Contrast.T1W: Contrast.T1W}, stated)
        return found[Contrast.T1W].slices is not None

    assert [compared(thick, {}), compared(thick, {Contrast.T1W: True})] == [True, False]
    assert [compared(thin, {}), compared(thin, {Contrast.T1W: False})] == [False, True]


@pytest.mark.parametrize("q", [1.0, 0.85, 0.6])
def test_the_gain_of_the_differences_is_that_of_limited_noise(q):
    spectrum = np.fft.fft(np.random.default_rng(0).normal(size=400_000))
    spectrum[np.abs(np.fft.fftfreq(spectrum.size)) > q / 2] = 0
    noise = np.fft.ifft(spectrum).real
    second = noise[:-2] - 2 * noise[1:-1] + noise[2:]
    assert second.var() / noise.var() == pytest.approx(difference_gain(q), rel=0.02)
