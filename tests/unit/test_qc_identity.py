"""Comparison with the accepted scans: every rule with a scan that violates it and one that just does not."""

from dataclasses import replace

import numpy as np
import pytest

from mri_pipeline.convert.pixels import pixels_key
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.registry import KnownScan, ScanIdentity
from qc.identity import check_identity, infusion_query, later_windows

PROTOCOL = parse_protocol(protocol_text())  # weeks 0, 4, 12, 24, 28, 36, 48; windows of 7 days
DAY0 = 700_000
PATIENT = ("number", "name", "birth")
SCAN = ScanIdentity(PATIENT, frozenset({"study"}), DAY0 + 28, images={"FLAIR": "f", "T1w": "t"})


def known(visit="wk00", subject="AB12", *, day=DAY0, patient=PATIENT, study="other study", **images):
    person = patient if isinstance(patient, tuple) else (patient, patient, patient)
    return KnownScan(subject, visit, ScanIdentity(person, frozenset({study}), day, images=images))


def found(*others, scan=SCAN, visit="wk04"):
    findings = check_identity(scan, subject="AB12", visit=visit, known=others, protocol=PROTOCOL)
    return {finding.rule: (finding.action, finding.message) for finding in findings}


def test_a_visit_in_its_place_has_no_finding():
    assert found(known(), known("wk12", day=DAY0 + 84)) == {}


@pytest.mark.parametrize(
    ("other", "whose"),
    [(known(FLAIR="f"), "visit wk00"), (known(subject="CD34", patient="another", FLAIR="f"), "another subject")],
)
@pytest.mark.requirement("INTAKE-07")
def test_images_of_another_visit_are_refused(other, whose):
    action, message = found(other)["same_images"]
    assert (action, message) == (
        Action.REFUSE, f"expected images of this visit alone, found FLAIR of {whose}",
    )  # fmt: skip
    assert "CD34" not in message


def test_images_under_another_contrast_are_found_too():
    assert "found T1w of visit wk00" in found(known(**{"ce-gadolinium_T1w": "t"}))["same_images"][1]


@pytest.mark.parametrize("other", [known(study="study"), known(subject="CD34", patient="another", study="study")])
def test_a_study_of_another_visit_is_refused(other):
    assert found(other)["same_study"][0] is Action.REFUSE


@pytest.mark.requirement("INTAKE-07")
def test_another_patient_is_refused_for_a_known_subject_alone():
    assert found(known(patient="another"))["patient"] == (
        Action.REFUSE,
        "expected the patient of the subject's other visits, found a patient with another number, name and birth date",
    )
    assert "patient" not in found(known(patient="another"), known("wk12", day=DAY0 + 84))  # known since wk12
    assert "patient" not in found(known(patient=""))  # accepted by version 0.2.0, without keys


def test_the_patient_of_another_subject_is_a_query_unless_all_have_the_same():
    second = known(subject="CD34")
    assert found(second)["patient_elsewhere"][0] is Action.QUERY
    assert found(second, known("wk04", "CD34"))["patient_elsewhere"][0] is Action.QUERY
    assert found(second, known(subject="EF56")) == {}  # a constant such as ANONYMOUS


def test_changed_patient_data_that_are_those_of_another_subject_are_both():
    assert found(known(patient="own"), known(subject="CD34")).keys() == {"patient", "patient_elsewhere"}


def test_scans_share_a_patient_a_study_or_an_image_but_no_empty_key():
    assert SCAN.shares(ScanIdentity(PATIENT))
    assert SCAN.shares(ScanIdentity(studies=frozenset({"study", "second"})))
    assert SCAN.shares(ScanIdentity(images={"T2w": "f"}))
    assert not SCAN.shares(ScanIdentity(("a", "b", "c"), frozenset({"other"}), images={"FLAIR": "x"}))
    assert not ScanIdentity().shares(ScanIdentity())


@pytest.mark.parametrize(
    ("others", "wrong"),
    [
        ([("wk00", 28)], "not after wk00"),  # the same day
        ([("wk00", 29)], "not after wk00"),
        ([("wk12", 28)], "not before wk12"),
        ([("wk00", 730), ("wk12", 27)], "not after wk00 and not before wk12"),
        ([("wk00", 0), ("wk12", 84)], None),
    ],
)
@pytest.mark.requirement("INTAKE-07")
def test_days_in_another_order_than_the_visits_are_refused(others, wrong):
    rules = found(*(known(visit, day=DAY0 + day) for visit, day in others))
    if wrong is None:
        assert rules == {}
    else:
        action, message = rules["order_of_days"]
        assert action is Action.REFUSE
        assert message.endswith(f"found a scan {wrong}")


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (35, None), (21, None),
        (36, "visit wk04: expected a scan within 7 days of week 4, found a scan 8 days later"),
        (20, "visit wk04: expected a scan within 7 days of week 4, found a scan 8 days earlier"),
    ],
)  # fmt: skip
@pytest.mark.requirement("INTAKE-07")
def test_a_scan_outside_its_window_is_a_query(day, message):
    expected = {} if message is None else {"window": (Action.QUERY, message)}
    assert found(known(), scan=replace(SCAN, shifted_day=DAY0 + day)) == expected
    # the first visit may come last
    first = replace(SCAN, shifted_day=DAY0, before_infusion=True)
    later = known("wk04", day=DAY0 + day)
    assert found(later, scan=first, visit="wk00") == {}  # the query belongs to the later visit
    windows = later_windows(first, subject="AB12", visit="wk00", known=[later], protocol=PROTOCOL)
    assert [[finding.message for finding in windows["wk04"]]] == [[message] if message else []]
    assert later_windows(SCAN, subject="AB12", visit="wk04", known=[known()], protocol=PROTOCOL) == {}


def test_without_the_first_visit_or_a_date_the_window_is_open():
    assert found(known("wk12", day=DAY0 + 200)) == {}
    assert found(known(day=None)) == {}
    assert found(known(), scan=replace(SCAN, shifted_day=None))["study_date"][0] is Action.QUERY


def test_the_scan_that_is_replaced_is_no_witness():
    itself = known("wk04", patient="another", study="study", day=DAY0 + 400, FLAIR="f", T1w="t")
    assert found(known(), itself) == {}


@pytest.mark.parametrize(
    ("visit", "stated", "message"),
    [
        ("wk00", True, None),
        ("wk24", None, "expected the site's statement that the scan came before the infusion, found none"),
        ("wk24", False, "expected a scan before the infusion, found a scan after it by the site's statement"),
        ("wk04", None, None),
        ("wk04", False, None),
    ],
)
@pytest.mark.requirement("INTAKE-08")
def test_a_visit_before_the_infusion_needs_the_statement_of_the_site(visit, stated, message):
    findings = infusion_query(stated, visit, PROTOCOL)
    assert [(f.action, f.message) for f in findings] == (
        [(Action.QUERY, f"visit {visit}: {message}")] if message else []
    )


def test_the_key_of_the_pixels_knows_one_changed_voxel():
    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    changed = data.copy()
    changed[1, 2, 3] += 1
    keys = {pixels_key(d, b"secret") for d in (data, changed, data.reshape(4, 3, 5), data[..., :4])}
    assert len(keys) == 4
    assert pixels_key(data.astype(np.int16)[..., ::-1], b"secret") == pixels_key(data, b"secret")


@pytest.mark.parametrize(
    ("person", "rule"),
    [
        (("number", "name", ""), None),
        (("", "name", "birth"), None),
        (("number", "name", "mistyped"), "birth_date"),
        (("number", "", "mistyped"), "patient"),
        (("", "name", "mistyped"), "patient"),
        (("number", "married", "birth"), "patient"),
        (("other", "name", "birth"), "patient"),
    ],
)
def test_patient_data_are_compared_by_parts(person, rule):
    """An empty birth date is no other patient, and a mistyped one is a query if number and name agree."""
    rules = found(known(), scan=replace(SCAN, person=person))
    assert set(rules) == ({rule} if rule else set())
    if rule == "birth_date":
        assert rules[rule] == (
            Action.QUERY, "expected the patient of the subject's other visits, found a patient with another birth date",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("person", "same"),
    [
        (("number", "name", ""), True),
        (("number", "", ""), True),
        (("other", "name", "birth"), True),
        (("number", "name", "mistyped"), True),
        (("number", "another", "birth"), False),
        (("", "name", ""), False),
        (("", "", "birth"), False),
    ],
)
def test_the_patient_of_another_subject_is_known_by_parts(person, same):
    assert ("patient_elsewhere" in found(known(subject="CD34", patient=person))) is same


PSEUDONYMS = ("p number", "p name", "p birth")


def forms(person, pseudonyms=("", "", ""), **more):
    """A scan of week 0 of the same subject."""
    scan = known(patient=person, **more)
    return replace(scan, identity=replace(scan.identity, pseudonyms=pseudonyms))


@pytest.mark.parametrize(
    ("other", "rules"),
    [
        (PSEUDONYMS, set()),
        (("p number", "", ""), set()),
        (("p number", "p name", "p mistyped"), {"birth_date"}),
        (("p another", "p name", "p birth"), {"patient"}),
        (("p number", "p married", "p birth"), {"patient"}),
    ],
)
@pytest.mark.requirement("INTAKE-07")
def test_names_that_the_browser_removed_are_compared_with_names_in_both_orders(other, rules):
    named, removed = replace(SCAN, pseudonyms=PSEUDONYMS), replace(SCAN, person=other)
    assert found(forms(other), scan=named).keys() == rules
    assert found(forms(PATIENT, PSEUDONYMS), scan=removed).keys() == rules


def test_the_patient_of_another_subject_is_known_without_names_in_both_orders():
    named, removed = replace(SCAN, pseudonyms=PSEUDONYMS), replace(SCAN, person=PSEUDONYMS)
    for scan, other in (
        (named, forms(PSEUDONYMS, subject="CD34")),
        (removed, forms(PATIENT, PSEUDONYMS, subject="CD34")),
    ):
        assert set(found(other, scan=scan)) == {"patient_elsewhere"}


@pytest.mark.parametrize("scan", [replace(SCAN, person=PSEUDONYMS), replace(SCAN, person=("", "", "birth"))])
def test_a_patient_that_cannot_be_compared_is_a_query(scan):
    """The earlier visit is of a version without pseudonyms of named scans; or no part is stated in both."""
    earlier = known(patient=("number", "name", ""))
    assert found(earlier, scan=scan) == {"patient_not_compared": (
        Action.QUERY,
        "expected patient data that can be compared with those of visit wk00, found none in the same form",
    )}  # fmt: skip
    later = replace(earlier, identity=replace(scan, studies=frozenset(), shifted_day=DAY0, images={}))
    assert set(found(later, scan=replace(SCAN, person=("number", "name", "")))) == {"patient_not_compared"}


def test_one_visit_with_the_same_form_is_enough_and_a_scan_without_patient_data_is_no_witness():
    removed = replace(SCAN, person=PSEUDONYMS)
    assert found(known(), known("wk12", day=DAY0 + 84, patient=PSEUDONYMS), scan=removed) == {}
    assert found(known(patient=("", "", "")), scan=removed) == {}
    assert found(known(), scan=replace(SCAN, person=("", "", ""))) == {}


def test_each_study_of_an_upload_is_compared():
    scan = replace(SCAN, studies=frozenset({"study", "second"}))
    assert found(known(study="second"), scan=scan)["same_study"][0] is Action.REFUSE
