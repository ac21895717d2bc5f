"""nv.csv as SDTM NV: terms, one reason for each missing result, baseline, evaluators, lesions."""

import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.records import (
    BlackHoleState,
    GelState,
    LesionRecord,
    ReadStatus,
    ScanStatus,
    SubjectResult,
    T2State,
    VisitCounts,
)
from mri_pipeline.tables.inputs import Evaluator, SubjectInput
from mri_pipeline.tables.io import subject_tables
from mri_pipeline.tables.sdtm import LESION_TESTS, REASONS, VARIABLES, VISIT_TESTS
from tests.unit.test_tables_made import LABELS, VISITS, counts, subject

BASELINE_CODES = ["GELCNT", "GELVOL", "T2CNT", "T2VOL", "BHCNT", "BHVOL"]
LOCKED = dict.fromkeys(LABELS, ReadStatus.LOCKED)


def nv(one, *, provisional=True, visits=VISITS):
    return subject_tables(one, visits, study="mesems", provisional=provisional)["nv.csv"]


def by_test(rows):
    return {(row["VISIT"], row["NVTESTCD"]): row for row in rows if row["NVLNKID"] is None}


def test_terms_have_the_form_that_sdtm_asks_for():
    rows = nv(subject())
    tests = (*VISIT_TESTS, *LESION_TESTS)
    assert {(row["NVTESTCD"], row["NVTEST"]) for row in rows} <= {(test.code, test.title) for test in tests}
    assert len({test.code for test in tests}) == len({test.title for test in tests}) == len(tests)
    for test in tests:
        assert re.fullmatch("[A-Z][A-Z0-9]{0,7}", test.code)  # at most 8 characters, upper case
        assert len(test.title) <= 40
        assert all(word[0].isupper() or word in {"or", "of", "the"} for word in test.title.split())
    for variable in VARIABLES:
        assert re.fullmatch("[A-Z]{1,8}", variable.column.name)
        assert len(variable.label) <= 40
    assert all(row["NVCAT"] == row["NVCAT"].upper() for row in rows)
    assert [row["NVSEQ"] for row in rows] == list(range(1, len(rows) + 1))


def test_measures_that_compare_have_no_row_at_baseline():
    rows = nv(subject())
    codes = {
        label: [r["NVTESTCD"] for r in rows if r["VISIT"] == label and r["NVLNKID"] is None] for label in LABELS
    }
    assert codes.pop("wk00") == BASELINE_CODES
    assert all(found == [test.code for test in VISIT_TESTS] for found in codes.values())
    # the plan decides: without a scan at baseline the next visit has its rows, with a reason
    late = by_test(nv(subject(labels=LABELS[1:])))
    assert ("wk00", "T2NCNT") not in late
    assert late["wk00", "T2CNT"]["NVREASND"] == "SCAN MISSING"
    assert late["wk04", "T2NCNT"]["NVREASND"] == "NO EARLIER VISIT"


def test_baseline_flag_and_visit_number():
    rows = nv(subject(labels=["wk00", "wk04"]))
    assert {(row["VISIT"], row["VISITNUM"]) for row in rows} == set(zip(LABELS, range(1, 8), strict=True))
    assert {row["NVBLFL"] for row in rows if row["VISIT"] == "wk00"} == {"Y"}
    assert {row["NVBLFL"] for row in rows if row["VISIT"] != "wk00"} == {None}
    assert {row["NVBLFL"] for row in nv(subject(labels=["wk04"])) if row["VISIT"] == "wk00"} == {None}


def test_results_are_numbers_and_equal_to_their_text():
    for row in nv(subject()):
        if row["NVSTRESN"] is not None:
            assert isinstance(row["NVSTRESN"], Decimal)
            assert row["NVORRES"] == row["NVSTRESC"] == str(row["NVSTRESN"])
    at = by_test(nv(subject()))
    assert (at["wk04", "T2VOL"]["NVSTRESN"], at["wk04", "T2VOL"]["NVSTRESU"]) == (Decimal("2.2346"), "mL")
    assert (at["wk04", "GELCNT"]["NVSTRESN"], at["wk04", "GELCNT"]["NVSTRESU"]) == (Decimal(1), None)


def test_each_missing_result_has_its_reason():
    reads = LOCKED | {"wk12": ReadStatus.CONFIRMED}
    one = subject(labels=LABELS[:5], reads=reads | {"wk36": ReadStatus.AUTOMATIC}, wk36=ScanStatus.REFUSED)
    at = by_test(nv(one, provisional=False))
    reasons = {
        ("wk12", "T2CNT"): "READ NOT LOCKED",
        ("wk12", "GELNCNT"): "READ NOT LOCKED",
        ("wk24", "T2NCNT"): "EARLIER READ NOT LOCKED",
        ("wk24", "CUACNT"): "EARLIER READ NOT LOCKED",
        ("wk24", "T2CNT"): None,
        ("wk04", "T2NCNT"): None,
        ("wk36", "T2CNT"): "SCAN REFUSED",
        ("wk48", "T2CNT"): "SCAN MISSING",
    }
    assert {key: at[key]["NVREASND"] for key in reasons} == reasons
    failed = by_test(nv(subject(wk04=ScanStatus.FAILED)))
    assert failed["wk04", "T2CNT"]["NVREASND"] == "NO ANALYSIS OF THE SCAN"
    for rows in (at, failed):
        for row in rows.values():
            missing = row["NVORRES"] is None
            assert row["NVSTAT"] == ("NOT DONE" if missing else None)
            assert (row["NVREASND"] in REASONS) is missing


def test_reasons_of_an_analysed_visit_without_a_sequence():
    visits = (
        replace(counts("wk00"), gel_count=None, gel_volume_ml=None),
        replace(
            counts("wk04", reference="wk00"), gel_new_count=None, gel_re_enhancing_count=None,
            gel_persistent_count=None, combined_unique_active_count=None, bh_chronic_volume_ml=None,
        ),
        VisitCounts("wk12", reference_visit="wk04", t2_count=1, t2_volume_ml=1.0, new_t2_count=0),
    )  # fmt: skip
    one = SubjectInput(SubjectResult("BCDF2345", visits), dict.fromkeys(LABELS[:3], ScanStatus.ANALYSED))
    at = by_test(nv(one))
    reasons = {
        ("wk00", "GELCNT"): "NO POST-CONTRAST T1",
        ("wk04", "GELNCNT"): "NO EARLIER VISIT WITH CONTRAST",
        ("wk04", "CUACNT"): "NO EARLIER VISIT WITH CONTRAST",
        ("wk04", "BHCVOL"): "EARLIER VISITS COVER TOO FEW WEEKS",
        ("wk12", "CUACNT"): "NO POST-CONTRAST T1",
        ("wk12", "BHCVOL"): "NO T1 BEFORE CONTRAST",
        ("wk12", "BHCNT"): "NO T1 BEFORE CONTRAST",
        ("wk12", "T2ECNT"): "NOT ASSESSABLE",
    }
    assert {key: at[key]["NVREASND"] for key in reasons} == reasons


def test_a_result_names_whose_read_gives_it():
    one = replace(
        subject(labels=LABELS[:3]), evaluators={"wk00": Evaluator("R1"), "wk04": Evaluator("A1", adjudicator=True)}
    )
    rows = nv(one)
    found = {
        label: {(r["NVEVAL"], r["NVEVALID"]) for r in rows if r["VISIT"] == label and r["NVSTAT"] is None}
        for label in LABELS[:3]
    }
    assert found == {
        "wk00": {("INDEPENDENT ASSESSOR", "R1")},
        "wk04": {("ADJUDICATOR", "A1")},
        "wk12": {(None, None)},
    }
    assert all(row["NVEVAL"] is row["NVEVALID"] is None for row in rows if row["NVSTAT"] == "NOT DONE")


def lesion(visit, number, state, **values):
    return LesionRecord(
        visit, number, 30.125, 1.0, 2.0, 3.0, Location.DEEP_WHITE_MATTER, True, GelState.NEW, state,
        BlackHoleState.NONE, **values,
    )  # fmt: skip


def test_lesions_are_linked_to_lesions_csv():
    lesions = (
        lesion("wk00", 1, T2State.BASELINE),
        lesion("wk04", 1, T2State.ENLARGING, gel_count=1, gel_volume_mm3=20.0, bh_count=1, bh_volume_mm3=14.5),
        lesion("wk04", 1, T2State.STABLE, part=2),
        lesion("wk04", 2, T2State.VANISHED, t2_lesion=False),
        lesion("wk04", 3, T2State.NONE, t2_lesion=False, gel_count=2, gel_volume_mm3=30.0, bh_count=0),
    )
    base = subject(labels=LABELS[:2])
    one = replace(base, result=replace(base.result, lesions=lesions))
    rows = [row for row in nv(one) if row["NVLNKID"] is not None]
    assert [(r["VISIT"], r["NVLNKID"], r["NVSPID"], r["NVTESTCD"], r["NVSTRESC"]) for r in rows] == [
        ("wk00", "1", "1.1", "LSNVOL", "0.03012"),
        ("wk04", "1", "1.1", "LSNVOL", "0.03012"),
        ("wk04", "1", "1.1", "LSNCHG", "ENLARGING"),
        ("wk04", "1", "1.1", "LSNGEVOL", "0.02000"),
        ("wk04", "1", "1.1", "LSNBHVOL", "0.01450"),
        ("wk04", "1", "1.2", "LSNVOL", "0.03012"),
        ("wk04", "1", "1.2", "LSNCHG", "STABLE"),
        ("wk04", "2", "2.1", "LSNCHG", "VANISHED"),
        ("wk04", "3", "3.1", "LSNGEVOL", "0.03000"),
    ]
    assert {row["NVLOC"] for row in rows} == {"DEEP WHITE MATTER"}
    assert {row["NVLOC"] for row in nv(one) if row["NVLNKID"] is None} == {"BRAIN"}
    assert {row["NVCAT"] for row in rows} == {"SINGLE MS LESION"}
    keys = Counter((r["VISIT"], r["NVTESTCD"], r["NVSPID"]) for r in nv(one))
    assert set(keys.values()) == {1}


@pytest.mark.parametrize("provisional", [True, False])
def test_no_lesion_of_a_read_that_is_not_locked(provisional):
    rows = nv(subject(reads=LOCKED | {"wk12": ReadStatus.CONFIRMED}), provisional=provisional)
    of_lesions = [row for row in rows if row["NVLNKID"] is not None]
    assert any(row["VISIT"] == "wk12" for row in of_lesions) is provisional
    changes = {row["VISIT"] for row in of_lesions if row["NVTESTCD"] == "LSNCHG"}
    assert changes == ({*LABELS[1:]} if provisional else {"wk04"})


@pytest.mark.requirement("BLIND-01")
def test_blinded_rows_have_no_date():
    assert all(row["NVDTC"] is row["NVDY"] is None for row in nv(subject()))
    assert {row["USUBJID"] for row in nv(subject())} == {"BCDF2345"}
