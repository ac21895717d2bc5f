"""Which series is which: real protocols of several makers, names that mislead, and series nobody wants."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import choose, split_gadolinium
from mri_pipeline.intake.contrast import Recognised, Unwanted, recognise
from mri_pipeline.intake.facts import InstanceFacts, ObjectKind
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.series import Series, group_series

SE, IR, GR = ("SE",), ("SE", "IR"), ("GR",)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def instances(
    slices: int = 44, *, spacing: float = 3.0, skip: tuple[int, ...] = (), **changes: Any
) -> list[InstanceFacts]:
    name = changes.pop("name", "s1")
    normal = np.cross(changes.get("orientation", AXIAL)[:3], changes.get("orientation", AXIAL)[3:])
    common = {
        "kind": ObjectKind.MR, "patient_key": "p", "study_key": "s", "series_key": name, "scanner_key": "m",
        "modality": "MR",
        "rows": 256, "columns": 200, "pixel_spacing_mm": (0.9, 1.0), "thickness_mm": 3.0, "orientation": AXIAL,
        "image_type": ("ORIGINAL", "PRIMARY", "M"),
        "acquisition_type": "2D", "series_number": 1, "acquired_s": 0.0,
        "field_strength_t": 1.5,
    }  # fmt: skip
    return [
        InstanceFacts.model_validate(
            common | {"positions": (tuple(np.array([-90.0, -110.0, 0.0]) + i * spacing * normal),)} | changes
            | {"path": Path(f"{name}{i}"), "instance_key": f"{name}-{changes.get('echo_time_ms')}-{i}"}
            | {"instance_number": i + 1}
        )
        for i in range(slices) if i not in skip
    ]  # fmt: skip


def timed(
    tr: float | None, te: float | None, ti: float | None = None, echo: tuple[str, ...] = SE, **more: Any
) -> dict[str, Any]:
    return {
        "repetition_time_ms": tr,
        "echo_time_ms": te,
        "inversion_time_ms": ti,
        "scanning_sequence": echo,
        **more,
    }


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
        (timed(7, 3, None, GR), 3, Unwanted.LOCALIZER),
        (timed(550, 12, description="AAHead_Scout"), 44, Unwanted.LOCALIZER),
        (timed(2300, 3, 900, GR, image_type=("DERIVED", "SECONDARY", "MPR")), 44, Unwanted.DERIVED),
        (timed(4500, 95, image_type=("ORIGINAL", "PRIMARY", "P")), 44, Unwanted.PHASE),
        (timed(4500, 95, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")), 44, Unwanted.MOSAIC),
        (timed(4500, 95, description="t2_tse_sag_spine"), 44, Unwanted.OTHER_BODY),
        (timed(4500, 95, kind=ObjectKind.SECONDARY_CAPTURE), 44, Unwanted.CAPTURE),
        (timed(4500, 95, burned_in=True), 44, Unwanted.BURNED_IN),
        (timed(4500, 95, modality="CT"), 44, Unwanted.NOT_MR),
        (timed(1600, 50), 44, Unwanted.UNKNOWN),
    ],
)
def test_unwanted_series_are_named_for_what_they_are(changes, slices, expected):
    found = one(instances(slices, **changes))
    assert found.contrast is None
    assert found.unwanted is expected
    assert expected.value in found.evidence


@pytest.mark.parametrize("name", ["Ax T2 FLAIR ASSET", "t2_tirm_tra_dark-fluid", "medical FLAIR protocol"])
def test_names_that_hold_telling_parts_by_chance_are_not_misread(name):
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


def t1(name: str, start: float, **changes: Any) -> list[InstanceFacts]:
    return instances(name=name, **timed(550, 12, acquired_s=start, **changes))


def contrasts(*series: list[InstanceFacts]) -> dict[str, Recognised]:
    found = split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])])
    return {r.series.first.series_key: r for r in found}


def test_gadolinium_by_tag_by_name_by_injection_time():
    by_tag = contrasts(t1("a", 0), t1("b", 900, contrast_agent=True))
    assert (by_tag["a"].contrast, by_tag["b"].contrast) == (Contrast.T1W, Contrast.T1W_GD)
    assert not by_tag["b"].doubtful
    by_name = contrasts(t1("a", 0, description="t1 pre"), t1("b", 900, description="T1_SE_post_GD"))
    assert (by_name["a"].contrast, by_name["b"].contrast) == (Contrast.T1W, Contrast.T1W_GD)
    # the scanner kept tag and injection time for the whole exam
    header = {"contrast_agent": True, "contrast_start_s": 500.0}
    by_time = contrasts(t1("a", 0, **header), t1("b", 900, **header))
    assert (by_time["a"].contrast, by_time["b"].contrast) == (Contrast.T1W, Contrast.T1W_GD)
    assert "before the injection" in by_time["a"].evidence


def test_gadolinium_by_order_is_doubtful_and_says_so():
    for tagged in (False, True):
        found = contrasts(t1("a", 0, contrast_agent=tagged), t1("b", 900, contrast_agent=tagged))
        assert (found["a"].contrast, found["b"].contrast) == (Contrast.T1W, Contrast.T1W_GD)
        assert found["b"].doubtful
        assert "by order only" in found["b"].evidence


def test_a_rescan_at_once_and_a_single_t1_are_not_after_contrast():
    rescan = contrasts(t1("a", 0), t1("b", 120))
    assert {r.contrast for r in rescan.values()} == {Contrast.T1W}
    assert contrasts(t1("a", 0))["a"].contrast is Contrast.T1W
    other_protocol = contrasts(
        t1("a", 0), instances(name="b", **timed(2300, 3, 900, GR, acquired_s=900, acquisition_type="3D"))
    )
    assert {r.contrast for r in other_protocol.values()} == {Contrast.T1W}


@pytest.mark.parametrize("name", ["T1 pre contrast", "t1_native", "T1 ohne KM", "pre_gd T1"])
def test_names_before_contrast_are_not_after(name):
    assert contrasts(t1("a", 0, description=name))["a"].contrast is Contrast.T1W


@pytest.mark.parametrize("name", ["T1 +C", "T1+Gd", "t1_se_tra_km", "T1 CE", "T1W_SE_GADO", "Post T1", "T1 C+"])
def test_names_after_contrast(name):
    assert contrasts(t1("a", 0, description=name))["a"].contrast is Contrast.T1W_GD


@pytest.mark.parametrize("name", ["T1 posterior fossa", "T1 cerebrum", "t1_se_tra", "T1 SE HEAD"])
def test_names_that_say_nothing_of_contrast(name):
    assert contrasts(t1("a", 0, description=name))["a"].contrast is Contrast.T1W


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
