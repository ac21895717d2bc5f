"""Which series is which: real protocols of several makers, names that mislead, and series nobody wants."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import choose
from mri_pipeline.intake.contrast import Recognised, recognise
from mri_pipeline.intake.facts import InstanceFacts, ObjectKind
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.header_values import header_values
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import Series, group_series
from mri_pipeline.intake.unwanted import Unwanted
from tests.unit.series_facts import AXIAL, GR, IR, SE, contrasts, instances, t1, timed


def one(facts: list[InstanceFacts]) -> Recognised:
    (series,) = group_series(facts)
    return recognise(series)


@pytest.mark.parametrize(
    ("physics", "expected"),
    [
        (timed(9000, 110, 2500, IR), Contrast.FLAIR),  # Siemens 2D
        (timed(8002, 120, 2000, ("SE", "IR")), Contrast.FLAIR),  # GE 2D
        (timed(4800, 340, 1650, IR, acquisition_type="3D"), Contrast.FLAIR),  # Philips VISTA
        (timed(5000, 387, 1800, IR, acquisition_type="3D"), Contrast.FLAIR),  # Siemens SPACE
        (timed(11000, 125, 2800, ("IR",)), Contrast.FLAIR),  # Philips 2D
        (timed(9000, 110, None, SE, description="T2 FLAIR"), Contrast.FLAIR),  # inversion time not exported
        (timed(4500, 95), Contrast.T2W),
        (timed(3200, 400, acquisition_type="3D"), Contrast.T2W),  # SPACE
        (timed(2500, 80), Contrast.T2W),
        (timed(3500, 54), Contrast.T2W),  # first echo times of fast T2 protocols
        (timed(3500, 54, description="pd_tse"), Contrast.PDW),
        (timed(6000, 120, 1341, IR, acquisition_type="3D"), Contrast.FLAIR),  # 3D at 1.5 T
        (timed(3800, 90, 1700, IR), Contrast.FLAIR),
        (timed(3800, 90, None, SE, description="T2 FLAIR"), Contrast.FLAIR),
        (timed(1500, 12), Contrast.T1W),  # spin echo of many slices at 3 T
        (timed(2500, 15), Contrast.PDW),
        (timed(550, 12), Contrast.T1W),
        (timed(450, 15, description="T1 SE"), Contrast.T1W),
        (timed(700, 28, acquisition_type="3D"), Contrast.T1W),  # T1 SPACE
        (timed(2300, 2.98, 900, ("GR", "IR"), acquisition_type="3D"), Contrast.T1W),  # MPRAGE
        (timed(7.1, 3.2, None, GR, acquisition_type="3D"), Contrast.T1W),  # Philips TFE
        (timed(7.3, 3.0, 400, ("GR",), acquisition_type="3D"), Contrast.T1W),  # GE BRAVO
        (timed(2100, 24, 860, IR, description="Ax T1 FLAIR"), Contrast.T1W),
        (timed(2100, 24, None, SE, description="Ax T1 FLAIR"), Contrast.T1W),
        (timed(9.8, 4.6, None, (), flip_angle_deg=8, kind=ObjectKind.ENHANCED_MR), Contrast.T1W),
        (
            timed(None, None, None, (), description="t2_tse_tra"),
            Contrast.T2W,
        ),  # no timing: the name is all there is
    ],
)
def test_contrasts_by_physics(physics, expected):
    found = one(instances(**physics))
    assert found.contrast is expected, found.evidence
    assert found.unwanted is None


@pytest.mark.parametrize(
    ("changes", "slices", "expected"),
    [
        (timed(2000, 30, None, ("EP", "GR")), 44, Unwanted.ECHO_PLANAR),
        (timed(8000, 90, None, ("EP", "SE"), b_value=1000), 44, Unwanted.DIFFUSION),
        (timed(8000, 90, None, (), sequence_name="*ep_b1000t"), 44, Unwanted.ECHO_PLANAR),
        (timed(28, 20, None, GR, description="SWI"), 44, Unwanted.SUSCEPTIBILITY),
        (timed(600, 20, None, GR), 44, Unwanted.SUSCEPTIBILITY),  # T2* gradient echo without a telling name
        (timed(22, 4, None, GR, description="TOF 3D"), 44, Unwanted.ANGIOGRAPHY),
        (timed(22, 4, None, GR, angiography=True), 44, Unwanted.ANGIOGRAPHY),
        (timed(4000, 50, 150, IR, description="t2_stir"), 44, Unwanted.SHORT_INVERSION),
        (timed(9000, 110, 2500, IR, description="DIR"), 44, Unwanted.DOUBLE_INVERSION),
        (timed(7, 3, None, GR), 3, Unwanted.FEW_SLICES),
        (timed(550, 12, description="AAHead_Scout"), 44, Unwanted.LOCALIZER),
        (timed(2300, 3, 900, GR, image_type=("DERIVED", "SECONDARY", "MPR")), 44, Unwanted.DERIVED),
        (timed(4500, 95, image_type=("ORIGINAL", "PRIMARY", "P")), 44, Unwanted.PHASE),
        (timed(4500, 95, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")), 44, Unwanted.MOSAIC),
        (timed(4500, 95, description="t2_tse_sag_spine"), 44, Unwanted.OTHER_BODY),
        (timed(4500, 95, kind=ObjectKind.SECONDARY_CAPTURE), 44, Unwanted.CAPTURE),
        (timed(4500, 95, burned_in=True), 44, Unwanted.BURNED_IN),
        (timed(4500, 95, modality="CT"), 44, Unwanted.NOT_MR),
        (timed(1600, 50), 44, Unwanted.UNKNOWN),
        (timed(5.0, 2.2, None, GR, description="Ax 3D FIESTA"), 44, Unwanted.BALANCED),
        (timed(5.9, 2.6, None, GR, description="3D CISS", sequence_name="*ci3d1"), 44, Unwanted.BALANCED),
        (timed(5.0, 2.2, None, GR, sequence_variant=("SS", "SK"), flip_angle_deg=50), 44, Unwanted.BALANCED),
        (timed(21, 3.4, None, GR, scan_options=("FC", "SAT1"), acquisition_type="3D"), 44, Unwanted.ANGIOGRAPHY),
        (timed(21, 3.4, None, GR, sequence_name="*fi3d1r"), 44, Unwanted.ANGIOGRAPHY),
        (timed(25, 6.9, None, GR, scan_options=("FC_SLICE_AX_GEMS",)), 44, Unwanted.ANGIOGRAPHY),
        (timed(500, 4.9, None, GR, description="gre_field_mapping"), 44, Unwanted.FIELD_MAP),
        (timed(500, 4.9, None, GR, sequence_name="*fm2d2r"), 44, Unwanted.FIELD_MAP),
        (timed(500, 4.9, None, GR, description="B0 map"), 44, Unwanted.FIELD_MAP),
        (timed(900, 2.0, None, GR, description="tfl_b1map"), 44, Unwanted.FIELD_MAP),
        (timed(25, 4.6, None, GR, description="B1_Map_AFI"), 44, Unwanted.FIELD_MAP),
        (timed(7, 3.2, None, GR, pixel_spacing_mm=(4.0, 4.0)), 44, Unwanted.FIELD_MAP),
        (timed(4, 1.5, None, GR, description="t1_vibe_dce"), 44, Unwanted.DYNAMIC),
        (timed(4, 1.5, None, GR, description="T1 dyn 12"), 44, Unwanted.DYNAMIC),
        (timed(4, 1.5, None, GR, description="T1 perfusion KM"), 44, Unwanted.DYNAMIC),
        (timed(15, 4.5, None, GR, description="T1 mapping FA 20"), 44, Unwanted.QUANTITATIVE),
        (timed(5000, 3, 700, GR, description="t1_mp2rage_sag_INV1"), 44, Unwanted.MP2RAGE),
        (timed(5000, 3, 2500, GR, description="t1_mp2rage_sag_INV2"), 44, Unwanted.MP2RAGE),
        (timed(5000, 3, 700, GR, description="t1_mp2rage_sag_UNI_Images"), 44, Unwanted.MP2RAGE),
        (timed(5000, 3, 2500, GR), 44, Unwanted.UNKNOWN),  # the second inversion without a telling name
    ],
)
def test_unwanted_series_are_named_for_what_they_are(changes, slices, expected):
    found = one(instances(slices, **changes))
    assert found.contrast is None
    assert found.unwanted is expected
    assert expected.value in found.evidence


def test_the_denoised_uniform_image_of_mp2rage_is_t1w():
    facts = instances(**timed(5000, 3, 700, GR, description="t1_mp2rage_sag_UNI-DEN"))
    assert one(facts).contrast is Contrast.T1W


@pytest.mark.parametrize(
    "changes",
    [
        timed(2300, 3, 900, GR, description="t1_mprage_sag_p2_iso", sequence_name="*tfl3d1_16ns"),
        timed(7.3, 3.0, 400, GR, description="Sag BRAVO", sequence_variant=("SS", "SP", "SK"), flip_angle_deg=12),
        timed(25, 4.6, None, GR, description="T1 FFE 3D", flip_angle_deg=30, acquisition_type="3D"),
        timed(250, 2.5, None, GR, description="t1_fl2d_tra", sequence_name="*fl2d1", flip_angle_deg=70),
        timed(550, 12, description="T1 SE mit Flusskompensation", scan_options=("FC", "SAT1")),
    ],
)
def test_t1_of_several_techniques_are_not_taken_for_something_else(changes):
    assert one(instances(**changes)).contrast is Contrast.T1W


@pytest.mark.parametrize(
    "name",
    ["Ax T2 FLAIR ASSET", "t2_tirm_tra_dark-fluid", "medical FLAIR protocol", "FLAIR SwissMS", "Swansea 3D FLAIR"],
)
def test_names_that_hold_telling_parts_by_chance_are_not_misread(name):
    assert one(instances(**timed(9000, 110, 2500, IR, description=name))).contrast is Contrast.FLAIR


@pytest.mark.parametrize(
    "name",
    [
        "SWI",
        "swi3d",
        "SWI_SENSE",
        "SWIngGRE",
        "SWISSPGR",
        "SWISAG",
        "SWAN",
        "SWANS",
        "SWANSAG",
        "SWANSENSE",
        "eSWAN",
    ],
)
def test_names_of_susceptibility_weighted_imaging_with_a_suffix(name):
    facts = instances(**timed(9000, 110, 2500, IR, description=name))
    assert one(facts).unwanted is Unwanted.SUSCEPTIBILITY


@pytest.mark.parametrize(
    "name", ["SWISS FLAIR", "FLAIR switch", "SWITZERLAND FLAIR", "FLAIR SWIFT", "SWANSEA FLAIR"]
)
def test_words_that_begin_as_susceptibility_weighted_imaging(name):
    assert one(instances(**timed(9000, 110, 2500, IR, description=name))).contrast is Contrast.FLAIR


def test_physics_beats_the_name_and_the_contradiction_is_doubtful():
    found = one(instances(**timed(550, 12, description="FLAIR")))
    assert found.contrast is Contrast.T1W
    assert found.doubtful
    assert "but its description says FLAIR" in found.evidence


def test_normalised_images_of_a_scanner_are_not_derived():
    assert (
        one(instances(**timed(4500, 95, image_type=("DERIVED", "PRIMARY", "M", "NORM")))).contrast is Contrast.T2W
    )


def test_a_dual_echo_gives_pd_and_t2_and_three_planes_give_three_series():
    dual = [*instances(**timed(2500, 15)), *instances(**timed(2500, 90))]
    assert {recognise(s).contrast for s in group_series(dual)} == {Contrast.PDW, Contrast.T2W}
    planes = [(AXIAL, 0), ((0.0, 1.0, 0.0, 0.0, 0.0, -1.0), 1), ((1.0, 0.0, 0.0, 0.0, 0.0, -1.0), 2)]
    scout = [
        i.model_copy(update={"instance_key": f"{n}{i.instance_key}"})
        for orientation, n in planes
        for i in instances(1, **timed(7, 3, None, GR, orientation=orientation))
    ]
    assert sorted(s.geometry.plane for s in group_series(scout) if s.geometry) == ["axial", "coronal", "sagittal"]


def test_the_same_object_sent_twice_is_used_once():
    facts = instances(**timed(4500, 95))
    (series,) = group_series([*facts, *facts])
    assert len(series.files) == 44
    assert series.geometry is not None
    assert series.geometry.complete


@given(missing=st.sets(st.integers(1, 42), min_size=1, max_size=5))
def test_missing_slices_between_the_ends_are_counted(missing):
    (series,) = group_series(instances(skip=tuple(missing), **timed(4500, 95)))
    assert series.geometry is not None
    assert series.geometry.missing_slices == len(missing)
    assert not series.geometry.complete


def test_missing_slices_at_the_end_are_known_where_the_scanner_says_how_many_it_made():
    (series,) = group_series(instances(skip=(42, 43), images_in_acquisition=44, **timed(4500, 95)))
    assert series.geometry is not None
    assert series.geometry.missing_slices == 2


def test_geometry_in_an_oblique_plane():
    angle = np.deg2rad(20)
    oblique = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    (series,) = group_series(instances(spacing=3.3, **timed(4500, 95, orientation=oblique)))
    geometry = series.geometry
    assert geometry is not None
    assert geometry.complete
    assert geometry.plane == "axial"
    assert geometry.spacing_mm == pytest.approx((0.9, 1.0, 3.3))
    assert geometry.gap_mm == pytest.approx(0.3)
    assert geometry.coverage_mm == pytest.approx(43 * 3.3 + 3)
    corners = np.array(geometry.corners_ras_mm)
    diagonal = np.linalg.norm([199 * 1.0, 255 * 0.9, 43 * 3.3])
    assert np.linalg.norm(corners[0] - corners[-1]) == pytest.approx(diagonal)


def chosen(*series: list[InstanceFacts]) -> dict[Contrast, str]:
    picked = choose(split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])]))
    return {contrast: choice.recognised.series.first.series_key for contrast, choice in picked.items()}


def t2(name: str, start: float, **changes: Any) -> list[InstanceFacts]:
    return instances(name=name, **timed(4500, 95, acquired_s=start), **changes)


def test_the_last_whole_series_is_taken():
    assert chosen(t2("a", 0), t2("b", 300)) == {Contrast.T2W: "b"}
    assert chosen(t2("a", 0), t2("b", 300, skip=(20, 21))) == {Contrast.T2W: "a"}
    assert chosen(t2("a", 0), t2("slab", 300, slices=12)) == {Contrast.T2W: "a"}


def test_the_finer_series_is_taken_and_t1_matches_its_partner():
    fine = {"spacing": 1.0, "slices": 176, "thickness_mm": 1.0, "pixel_spacing_mm": (1.0, 1.0)}
    assert chosen(t2("coarse", 300), t2("fine", 0, **fine)) == {Contrast.T2W: "fine"}
    mprage = instances(name="mprage", **timed(2300, 3, 900, GR, acquired_s=0, acquisition_type="3D"), **fine)
    after = t1("after", 900, contrast_agent=True)
    assert chosen(mprage, t1("before", 300), after) == {Contrast.T1W: "before", Contrast.T1W_GD: "after"}


def test_a_choice_holds_no_text_of_the_header():
    for item in contrasts(
        t1("a", 0, description="T1 Mustermann"), t1("b", 900, description="Mustermann gd")
    ).values():
        assert "Mustermann" not in item.evidence
        assert "Mustermann" not in repr(item)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ge_epi", Unwanted.ECHO_PLANAR),
        ("siemens_epi", Unwanted.ECHO_PLANAR),
        ("siemens_jpeg", Unwanted.ECHO_PLANAR),
        ("siemens_jpeg2000", Unwanted.ECHO_PLANAR),
        ("siemens_enhanced", Unwanted.ECHO_PLANAR),
    ],
)
def test_real_functional_series_are_not_taken_for_anatomy(real_data, name, reason):
    found: list[Series] = list(
        group_series(read_headers(sorted((real_data / "dicom" / name).glob("*.dcm"))).instances)
    )
    assert found
    assert {recognise(series).unwanted for series in found} == {reason}


def evidence(*series: list[InstanceFacts]) -> dict[Contrast, str]:
    picked = choose(split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])]))
    return {contrast: choice.evidence for contrast, choice in picked.items()}


def test_a_choice_says_of_how_many_series_it_is_one():
    assert "taken from" not in evidence(t2("a", 0))[Contrast.T2W]
    assert "chosen from 2 series" in evidence(t2("a", 0), t2("b", 300))[Contrast.T2W]


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t2_dark-fluid_tra", Contrast.FLAIR),
        ("pd_tse_tra", Contrast.PDW),
        ("t2_tse_tra", Contrast.T2W),
        ("t1_se_tra", Contrast.T1W),
        ("mp-rage", Contrast.T1W),
    ],
)
def test_a_series_without_timing_is_known_by_its_name_in_any_spelling(name, expected, spelling):
    found = one(instances(**timed(None, None, None, (), description=spelling(name))))
    assert found.contrast is expected
    assert found.doubtful


@pytest.mark.parametrize(
    "changes",
    [
        {"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "FA")},
        {"image_type": ("DERIVED", "PRIMARY", "M", "FA")},
        {"image_type": ("DERIVED", "PRIMARY", "M", "ADC")},
        {"image_type": ("DERIVED", "PRIMARY", "M", "TRACEW")},
        {"description": "DWI_b1000", "echo_planar": True},
        {"description": "ax diff", "echo_planar": True},
        {"b_value": 50.0},
    ],
)
def test_diffusion_and_its_maps_are_no_anatomy(changes):
    assert one(instances(**timed(4500, 95, **changes))).unwanted is Unwanted.DIFFUSION


def enhanced(**groups: list[dict[str, Any]]) -> Dataset:
    """An enhanced multi-frame object: for each functional group its item for every frame."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Rows, dataset.Columns = "1.2.840.10008.5.1.4.1.1.4.1", 12, 12
    frames = [Dataset() for _ in next(iter(groups.values()))]
    for keyword, items in groups.items():
        for frame, values in zip(frames, items, strict=True):
            item = Dataset()
            for name, value in values.items():
                setattr(item, name, value)
            setattr(frame, keyword, Sequence([item]))
    dataset.NumberOfFrames, dataset.PerFrameFunctionalGroupsSequence = len(frames), Sequence(frames)
    return dataset


def test_field_strength_from_the_frequency_of_an_enhanced_object():
    """Protons precess at 42.577 MHz per tesla: 127.7 MHz is 3 T."""
    values = header_values(enhanced(MRImagingModifierSequence=[{"TransmitterFrequency": 127.73}] * 2))
    assert values["field_strength_t"] == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(("values", "expected"), [((0.0, 1000.0), 1000.0), ((50.0, 0.0), 50.0), ((0.0, 0.0), 0.0)])
def test_the_b_value_of_an_enhanced_object_is_the_largest_of_its_frames(values, expected):
    groups = [{"DiffusionBValue": value} for value in values]
    assert header_values(enhanced(MRDiffusionSequence=groups))["b_value"] == expected


@pytest.mark.parametrize(("echoes", "differ"), [((15.0, 90.0), True), ((90.0, 90.0), False)])
def test_an_enhanced_object_of_two_echoes_is_not_one_volume(echoes, differ):
    plane = {"ImageOrientationPatient": list(AXIAL)}
    dataset = enhanced(
        MREchoSequence=[{"EffectiveEchoTime": te} for te in echoes],
        PlaneOrientationSequence=[plane, plane],
        PlanePositionSequence=[{"ImagePositionPatient": [0.0, 0.0, z]} for z in (0.0, 3.0)],
    )
    values = header_values(dataset)
    assert values["frames_differ"] is differ
    assert values["orientation"] == AXIAL
    assert values["positions"] == ((0.0, 0.0, 0.0), (0.0, 0.0, 3.0))
