"""Images that show no head, and copies of another scan, are refused; no untouched scan is."""

from collections.abc import Mapping

import numpy as np
import pytest

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import judge_images
from qc.content import slice_digests
from qc.decision import require_usable_images
from qc.measures import ImageMeasures, measure
from qc.planes import slices_first
from tests.unit.test_qc_measures import SHAPE, SPACING, changed, head

PROTOCOL = parse_protocol(protocol_text())
GRID = Grid(SHAPE, SPACING)


def measured(images: Mapping[Contrast, Image]) -> dict[Contrast, ImageMeasures]:
    return {contrast: measure(image, contrast) for contrast, image in images.items()}


def refusals(images: Mapping[Contrast, Image]) -> set[str]:
    return {f.rule for f in judge_images(measured(images), PROTOCOL) if f.action is Action.REFUSE}


def phantom(kind: str, sigma: float = 8.0) -> Image:
    """Objects that are no head, with coil shading and Rician noise."""
    x, y, z = np.meshgrid(
        *[(np.arange(n) - n / 2) * s for n, s in zip(SHAPE, (2, 2, 3), strict=True)], indexing="ij"
    )
    shade = 1 + 0.3 * np.cos(x / 60) * np.cos(y / 70)
    shapes = {
        "bottle": ((x / 60) ** 2 + (y / 60) ** 2 < 1) & (np.abs(z) < 80),
        "lying bottle": ((x / 60) ** 2 + (z / 60) ** 2 < 1) & (np.abs(y) < 90),
        "sphere": (x / 80) ** 2 + (y / 80) ** 2 + (z / 80) ** 2 < 1,
        "air": np.zeros(SHAPE, dtype=bool),
    }
    data = 300 * shapes.get(kind, shapes["sphere"]) * shade
    if kind == "inserts":
        for angle in range(6):
            place = (x - 45 * np.cos(angle)) ** 2 + (y - 45 * np.sin(angle)) ** 2 < 10**2
            data = np.where(place & (z < -10), 120 * (angle % 3), data)
    draw = np.random.default_rng(1)
    noisy = np.hypot(data + draw.normal(0, sigma, SHAPE), draw.normal(0, sigma, SHAPE))
    return Image(noisy.astype(np.float32), GRID)


@pytest.mark.parametrize("contrast", [Contrast.T1W, Contrast.FLAIR, Contrast.T2W])
@pytest.mark.parametrize("orientation", ["RAS", "PIL"])
def test_a_head_is_accepted_in_any_orientation(contrast, orientation):
    assert refusals({contrast: head(contrast).reoriented(orientation)}) == set()


@pytest.mark.parametrize("kind", ["bottle", "lying bottle", "sphere", "inserts"])
@pytest.mark.parametrize("sigma", [4.0, 16.0])
def test_a_phantom_is_refused(kind, sigma):
    assert "head_detail" in refusals({Contrast.FLAIR: phantom(kind, sigma)})


def test_noise_is_refused():
    assert "slice_coherence" in refusals({Contrast.FLAIR: phantom("air")})


@pytest.mark.parametrize(
    ("contrast", "slice_mm", "action"),
    [
        (Contrast.FLAIR, 4.0, Action.REFUSE),
        (Contrast.FLAIR, 6.0, Action.QUERY),
        (Contrast.PDW, 3.0, Action.QUERY),
    ],
)
@pytest.mark.parametrize(("kind", "rule"), [("sphere", "head_detail"), ("air", "slice_coherence")])
def test_scans_of_a_kind_that_was_not_measured_are_not_refused_for_their_detail(
    contrast, slice_mm, action, kind, rule
):
    image = Image(phantom(kind).data, Grid(SHAPE, np.diag([2.0, 2.0, slice_mm, 1.0])))
    found = {f.rule: f.action for f in judge_images(measured({contrast: image}), PROTOCOL)}
    assert found[rule] is action


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_constant_image_is_refused(value):
    assert "head_detail" in refusals({Contrast.FLAIR: Image(np.full(SHAPE, value, np.float32), GRID)})


def test_a_copied_slice_is_found_anywhere_and_at_another_scale():
    data = head().data.copy()
    data[..., 40] = 2 * data[..., 20] + 5
    assert refusals({Contrast.FLAIR: changed(head(), data)}) == {"repeated_slices"}


def test_a_black_slice_is_refused():
    data = head().data.copy()
    data[..., 30] = 0
    assert refusals({Contrast.FLAIR: changed(head(), data)}) == {"blank_slices"}


def test_the_pixels_of_the_flair_sent_as_t2_are_refused():
    flair, t2 = head(Contrast.FLAIR), head(Contrast.T2W, seed=3)
    assert refusals({Contrast.FLAIR: flair, Contrast.T2W: t2}) == set()
    copied = {Contrast.FLAIR: flair, Contrast.T2W: changed(flair, 3 * flair.data).reoriented("LPS")}
    with pytest.raises(
        ComplianceError,
        match=r"FLAIR and T2w: expected two scans, found [0-9]+ slices with the same pixels in both",
    ):
        require_usable_images(measured(copied), PROTOCOL)
    part = t2.data.copy()
    part[..., 30] = flair.data[..., 30]
    assert refusals({Contrast.FLAIR: flair, Contrast.T2W: changed(t2, part)}) == {"copied_scan"}


def test_an_optional_copy_is_left_out_with_a_query():
    flair = head(Contrast.FLAIR)
    for order in ((Contrast.FLAIR, Contrast.PDW), (Contrast.PDW, Contrast.FLAIR)):
        queries, left_out = require_usable_images(measured(dict.fromkeys(order, flair)), PROTOCOL)
        assert left_out == {Contrast.PDW}
        (message,) = [f.message for f in queries if f.rule == "copied_scan"]
        assert message.endswith("slices with the same pixels in both; the scan is optional and not used")


def test_slices_without_content_are_no_copies():
    data = head().data.copy()
    data[..., :5] = data[..., -5:] = 0
    assert slice_digests(slices_first(changed(head(), data)).data)[:5] == ("",) * 5
    assert refusals({Contrast.FLAIR: changed(head(), data)}) == set()


def test_quality_is_a_query():
    found, left_out = require_usable_images(measured({Contrast.FLAIR: head(sigma=60)}), PROTOCOL)
    assert left_out == frozenset()
    (message,) = [f.message for f in found if "signal" in f.message and f.action is Action.QUERY]
    assert message.startswith("FLAIR: expected a signal-to-noise ratio of at least 10, found")


def test_what_could_not_be_measured_is_a_note():
    found, _ = require_usable_images(measured({Contrast.FLAIR: head()}), PROTOCOL)
    notes = [f.message for f in found if f.action is Action.NOTE]
    assert "FLAIR: the brain was not measured: no FLAIR in which it was located" in notes


@pytest.mark.real_data
def test_untouched_real_scans_are_accepted_and_scrambled_ones_refused(real_data):
    """The thresholds were set with all scans of the two data sets; these are the least favourable ones."""
    folder = real_data / "ljubljana" / "longitudinal"
    for path, contrast in (
        ("patient03/study1_FLAIR.nii.gz", Contrast.FLAIR),  # the least detail
        ("patient01/study1_FLAIR.nii.gz", Contrast.FLAIR),  # the least coherence: slices of 4 mm
        ("patient03/study2_T1W.nii.gz", Contrast.T1W),
        ("patient03/study1_T2W.nii.gz", Contrast.T2W),
    ):
        image = load_image(folder / path)
        assert refusals({contrast: image}) == set()
        order = np.random.default_rng(0).permutation(image.data.shape[2])
        assert "slice_coherence" in refusals({contrast: changed(image, image.data[..., order])})
