"""The tables: columns of the contract, missing visits, locked reads, sums with an independent witness."""

import csv
import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.plan import found_visits, planned_visits
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import (
    BlackHoleState,
    ComparedMasks,
    GelState,
    LesionRecord,
    ReadStatus,
    ScanStatus,
    SubjectResult,
    T2State,
    VisitCounts,
)
from mri_pipeline.tables import io as tables_io
from mri_pipeline.tables.endpoints import ENDPOINTS, endpoint_row
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import TABLES, read_table, subject_tables, table_texts, unlocked_visits, write_tables
from mri_pipeline.tables.rows import MEASURED, _all_valid, _fault, check_rows, quantised
from mri_pipeline.tables.schema import LESIONS, TIMEPOINTS
from mri_pipeline.tables.sdtm import LESION_TESTS, VISIT_TESTS

VISITS = planned_visits(parse_protocol(protocol_text()))
LABELS = [visit.label for visit in VISITS]
TYPES = {"text", "category", "integer", "decimal", "number", "boolean"}

CONTRACT_TIMEPOINTS = (
    "subject, visit, week, scan_status, read_status, reference_visit, gel_count, gel_new_count, "
    "gel_re_enhancing_count, gel_persistent_count, gel_volume_ml, t2_count, t2_volume_ml, new_t2_count, "
    "enlarging_t2_count, new_or_enlarging_t2_count, bh_count, bh_volume_ml, bh_chronic_volume_ml, "
    "combined_unique_active_count"
)
CONTRACT_LESIONS = (
    "subject, visit, lesion_id, volume_mm3, x_mm, y_mm, z_mm, location, enhancing, gel_state, t2_state, black_hole"
)
FURTHER_LESION_COLUMNS = (
    "part, t2_lesion, gel_count, gel_states, gel_volume_mm3, bh_count, bh_volume_mm3, t2_comparison, image_support, "
    "new_since_first"
)


def counts(visit, *, reference=None, n=1):
    first = reference is None
    return VisitCounts(
        visit=visit,
        reference_visit=reference,
        gel_count=n,
        gel_new_count=None if first else n,
        gel_re_enhancing_count=None if first else 0,
        gel_persistent_count=None if first else 0,
        gel_volume_ml=0.05 * n,
        t2_count=10 + n,
        t2_volume_ml=1.23456 + n,
        new_t2_count=None if first else n,
        enlarging_t2_count=None if first else 1,
        new_or_enlarging_t2_count=None if first else n + 1,
        bh_count=2,
        bh_volume_ml=0.4,
        bh_chronic_volume_ml=None if first else 0.3,
        new_t2_since_first_count=None if first else n + 2,
        bh_severe_volume_ml=0.1,
        t1_hypointense_volume_ml=0.7,
        combined_unique_active_count=None if first else n + 1,
    )


def lesion(visit, number=1, state=T2State.STABLE):
    return LesionRecord(
        visit, number, 30.125, -1.004, 2.0, 3.0, Location.PERIVENTRICULAR, True, GelState.NEW, state,
        BlackHoleState.BLACK_HOLE,
    )  # fmt: skip


def subject(code="BCDF2345", labels=LABELS, reads=None, **scans):
    visits = tuple(counts(label, reference=labels[i - 1] if i else None, n=i) for i, label in enumerate(labels))
    statuses = dict.fromkeys(labels, ScanStatus.ANALYSED) | scans
    lesions = tuple(lesion(label) for label in labels)
    return SubjectInput(SubjectResult(code, visits, lesions), statuses, reads or {})


def made(*subjects, provisional=True, visits=VISITS):
    """The rows of some subjects, as the files hold them; `table_texts` checks what concerns more than one."""
    table_texts(subjects, visits, study="mesems", provisional=provisional)
    rows = [subject_tables(s, visits, study="mesems", provisional=provisional) for s in subjects]
    return {table.file: [row for own in rows for row in own[table.file]] for table in TABLES}


def test_columns_are_the_contract():
    assert ", ".join(TIMEPOINTS.names) == CONTRACT_TIMEPOINTS
    assert ", ".join(LESIONS.names) == f"{CONTRACT_LESIONS}, {FURTHER_LESION_COLUMNS}"


@pytest.mark.requirement("TABLE-06")
def test_every_column_is_described_and_every_measured_column_is_in_nv():
    for table in TABLES:
        assert len(set(table.names)) == len(table.names)
        assert all(column.rule and column.missing for column in table.columns)
    measured = {column.name for column in MEASURED} - {"reference_visit"}
    assert {test.column for test in VISIT_TESTS} == measured
    assert {test.column for test in LESION_TESTS} <= set(LESIONS.names)


def test_supplementary_measures_are_known_where_the_timepoints_know_what_they_go_with():
    one = subject(labels=["wk00", "wk04"], reads={"wk00": ReadStatus.CONFIRMED, "wk04": ReadStatus.LOCKED})
    names = ("new_t2_since_first_count", "t1_hypointense_volume_ml", "bh_severe_volume_ml")
    dark, none = (Decimal("0.7000"), Decimal("0.1000")), (None, None)
    for provisional, first, second in ((True, (None, *dark), (3, *dark)), (False, (None, *none), (None, *dark))):
        rows = made(one, provisional=provisional)["supplementary_timepoints.csv"]
        assert [row["visit"] for row in rows] == LABELS
        assert [tuple(row[name] for name in names) for row in rows] == [first, second, *[(None, *none)] * 5]


@pytest.mark.requirement("TABLE-01")
def test_missing_visit_is_a_row_with_empty_values():
    rows = made(subject(labels=["wk00", "wk12"], wk24=ScanStatus.REFUSED))["lesion_timepoints.csv"]
    assert [row["visit"] for row in rows] == LABELS
    assert [row["scan_status"] for row in rows] == ["analysed", "missing", "analysed", "refused"] + 3 * ["missing"]
    assert [row["week"] for row in rows] == [0, 4, 12, 24, 28, 36, 48]
    for row in rows:
        empty = row["scan_status"] != "analysed"
        assert (row["read_status"] is None) is empty
        assert (row["t2_count"] is None) is empty
    assert all(rows[1][column.name] is None for column in MEASURED)


@pytest.mark.requirement("RUN-04")
def test_failed_visit_keeps_no_number_of_an_earlier_run():
    rows = made(subject(wk04=ScanStatus.FAILED))["lesion_timepoints.csv"]
    assert rows[1]["scan_status"] == "failed"
    assert all(rows[1][column.name] is None for column in MEASURED)


def test_lesions_come_by_visit_and_number_and_only_of_analysed_visits():
    given = subject(labels=LABELS[:3], **{LABELS[1]: ScanStatus.FAILED})
    lesions = tuple(lesion(label, number) for number in (12, 3, 7) for label in reversed(LABELS[:3]))
    rows = made(replace(given, result=replace(given.result, lesions=lesions)))["lesions.csv"]
    expected = [(label, number) for label in (LABELS[0], LABELS[2]) for number in (3, 7, 12)]
    assert [(row["visit"], row["lesion_id"]) for row in rows] == expected


def test_analysed_visit_without_numbers_is_an_error():
    with pytest.raises(UsageError, match="numbers of every analysed visit, found none for wk48"):
        made(subject(labels=LABELS[:2], wk48=ScanStatus.ANALYSED))


def test_unplanned_visit_and_double_subject_are_errors():
    with pytest.raises(UsageError, match="only planned visits, found wk99"):
        made(subject(wk99=ScanStatus.MISSING))
    with pytest.raises(UsageError, match=r"expected every subject once, found \w+ twice"):
        made(subject(), subject())


def test_provisional_rows_say_so():
    rows = made(subject(reads={"wk04": ReadStatus.CONFIRMED}))["lesion_timepoints.csv"]
    assert [row["read_status"] for row in rows] == ["automatic", "confirmed"] + 5 * ["automatic"]


@pytest.mark.requirement("TABLE-05")
def test_without_provisional_only_locked_reads_give_numbers():
    locked = dict.fromkeys(LABELS, ReadStatus.LOCKED)
    reads = locked | {"wk12": ReadStatus.CONFIRMED}
    tables = made(subject(reads=reads), provisional=False)
    by_visit = {row["visit"]: row for row in tables["lesion_timepoints.csv"]}
    assert by_visit["wk12"]["t2_count"] is None
    assert by_visit["wk12"]["read_status"] == "confirmed"
    assert by_visit["wk04"]["new_t2_count"] == 1
    # wk24 was compared with a visit that is not final
    assert by_visit["wk24"]["new_t2_count"] is None
    assert by_visit["wk24"]["gel_count"] == 3
    lesions = {row["visit"]: row for row in tables["lesions.csv"]}
    assert "wk12" not in lesions
    assert lesions["wk04"]["t2_state"] == "stable"
    assert lesions["wk24"]["t2_state"] is None
    assert lesions["wk24"]["black_hole"] is None
    assert tables["endpoints.csv"][0]["gel_count_wk04_12_24_complete"] is None
    assert tables["endpoints.csv"][0]["gel_count_wk04_12_24_available"] == 1 + 3
    assert unlocked_visits([subject(reads=reads)]) == 1
    assert made(subject(reads=locked), provisional=False) == made(subject(reads=locked), provisional=True)


def test_without_provisional_a_vanished_lesion_of_an_open_read_has_no_row():
    base = subject(reads=dict.fromkeys(LABELS[1:], ReadStatus.LOCKED))
    lesions = (lesion("wk00"), lesion("wk04", state=T2State.VANISHED), lesion("wk04", 2))
    rows = made(replace(base, result=replace(base.result, lesions=lesions)), provisional=False)["lesions.csv"]
    assert [(row["visit"], row["lesion_id"]) for row in rows] == [("wk04", 2)]


def test_a_change_between_confirmed_reads_that_the_images_do_not_show_is_a_question():
    states = (T2State.NEW, T2State.ENLARGING, T2State.SHRINKING, T2State.VANISHED)
    asked = [
        replace(lesion("wk04", n, state), t2_comparison=ComparedMasks.CONFIRMED, image_support=False)
        for n, state in enumerate(states, start=1)
    ]
    shown = replace(asked[0], lesion_id=8, image_support=True)
    mixed = replace(asked[0], lesion_id=9, t2_comparison=ComparedMasks.MIXED)
    one = subject()
    tables = made(replace(one, result=replace(one.result, lesions=(*asked, shown, mixed))))
    rows = tables["questions.csv"]
    assert [(row["lesion_id"], row["t2_state"]) for row in rows] == list(enumerate(states, start=1))
    assert {(row["visit"], row["reference_visit"]) for row in rows} == {("wk04", "wk00")}
    assert rows[0]["question"].endswith("new, or missed there?")
    assert [row["t2_comparison"] for row in tables["lesions.csv"]] == ["confirmed"] * 5 + ["mixed"]


# --- endpoints -------------------------------------------------------------------------------------------------

cells = st.none() | st.integers(0, 40)


@given(st.lists(st.tuples(cells, cells, cells, st.none() | st.floats(0, 90)), min_size=7, max_size=7))
@pytest.mark.requirement("TABLE-04")
def test_endpoints_against_a_plain_calculation(numbers):
    visits = tuple(
        VisitCounts(
            label,
            gel_count=gel,
            t2_count=1,
            combined_unique_active_count=active,
            new_or_enlarging_t2_count=new,
            t2_volume_ml=t2,
            reference_visit=reference,
        )
        for label, (gel, active, new, t2), reference in zip(LABELS, numbers, [None, *LABELS], strict=False)
    )
    one = SubjectInput(SubjectResult("BCDF2345", visits), dict.fromkeys(LABELS, ScanStatus.ANALYSED))
    row = made(one)["endpoints.csv"][0]
    by_week = dict(zip([0, 4, 12, 24, 28, 36, 48], numbers, strict=True))
    length = {4: 4, 12: 8, 24: 12, 28: 4, 36: 8, 48: 12}
    for weeks, name in (((4, 12, 24), "wk04_12_24"), ((28, 36, 48), "wk28_36_48")):
        for i, measure in enumerate(("gel_count", "combined_unique_active_count", "new_or_enlarging_t2_count")):
            known = [by_week[w][i] for w in weeks if by_week[w][i] is not None]
            assert row[f"{measure}_{name}_visits"] == len(known)
            assert row[f"{measure}_{name}_available"] == (sum(known) if known else None)
            assert row[f"{measure}_{name}_complete"] == (sum(known) if len(known) == 3 else None)
            if measure != "gel_count":
                covered = sum(length[w] for w in weeks if by_week[w][i] is not None)
                assert row[f"{measure}_{name}_weeks"] == covered
        pairs = [(by_week[w][0], by_week[w][2]) for w in weeks]
        active = any((a or 0) > 0 or (b or 0) > 0 for a, b in pairs)
        certain = [(a is not None and b is not None) or (a or 0) > 0 or (b or 0) > 0 for a, b in pairs]
        assert row[f"activity_free_{name}_visits"] == sum(certain)
        assert row[f"activity_free_{name}_available"] == (not active if any(certain) else None)
        assert row[f"activity_free_{name}_complete"] == (not active if all(certain) else None)
    first, last = by_week[0][3], by_week[24][3]
    change = None if None in (first, last) else quantised(last, 4) - quantised(first, 4)
    assert row["t2_volume_ml_change_wk00_wk24"] == change
    assert row["gel_count_wk00"] == by_week[0][0]


def of_period(**changes):
    """Endpoints of a subject with two new lesions at each visit, some visits missing."""
    labels = [label for label in LABELS if label not in changes]
    visits = tuple(
        VisitCounts(
            label,
            reference_visit=before,
            gel_count=0,
            t2_count=9,
            new_or_enlarging_t2_count=None if before is None else 2,
        )
        for label, before in zip(labels, [None, *labels], strict=False)
    )
    one = SubjectInput(SubjectResult("BCDF2345", visits), dict.fromkeys(labels, ScanStatus.ANALYSED) | changes)
    return made(one)["endpoints.csv"][0]


@pytest.mark.parametrize(
    ("missing", "first", "second"),
    [  # available, visits, weeks, complete
        ([], (6, 3, 24, 6), (6, 3, 24, 6)),
        (["wk24"], (4, 2, 12, None), (4, 2, 20, None)),  # the changes of week 28 begin at week 12
        (["wk12"], (4, 2, 24, None), (6, 3, 24, 6)),
        (["wk00"], (4, 2, 20, None), (6, 3, 24, 6)),
        (["wk36"], (6, 3, 24, 6), (4, 2, 24, None)),
        (["wk24", "wk28"], (4, 2, 12, None), (2, 1, 12, None)),
        (["wk00", "wk04", "wk12", "wk24"], (None, 0, 0, None), (4, 2, 20, None)),
    ],
)
@pytest.mark.requirement("TABLE-04")
def test_a_period_counts_its_own_weeks(missing, first, second):
    row = of_period(**dict.fromkeys(missing, ScanStatus.MISSING))
    for name, expected in (("wk04_12_24", first), ("wk28_36_48", second)):
        rules = ("available", "visits", "weeks", "complete")
        assert tuple(row[f"new_or_enlarging_t2_count_{name}_{rule}"] for rule in rules) == expected


@pytest.mark.requirement("TABLE-04")
def test_activity_of_a_period_is_not_that_before_its_start():
    row = of_period(wk24=ScanStatus.MISSING)
    assert row["activity_free_wk28_36_48_visits"] == 2  # at week 28 it is unknown: no GEL, changes since week 12
    assert row["activity_free_wk28_36_48_complete"] is None
    assert of_period()["activity_free_wk28_36_48_complete"] is False


def test_a_visit_between_those_of_the_period_leaves_a_gap():
    extra = found_visits([*LABELS, "wk08"])
    labels = ["wk00", "wk04", "wk08", "wk12", "wk24"]
    row = made(subject(labels=labels), visits=extra)["endpoints.csv"][0]
    assert row["new_or_enlarging_t2_count_wk04_12_24_visits"] == 3
    assert row["new_or_enlarging_t2_count_wk04_12_24_weeks"] == 4 + 4 + 12
    assert row["new_or_enlarging_t2_count_wk04_12_24_complete"] is None


def test_the_rule_of_a_period_names_the_weeks_of_its_column():
    columns = [column for column in ENDPOINTS.columns if re.search(r"_wk\d\d_\d\d_\d\d_", column.name)]
    assert len(columns) > 10
    for column in columns:
        weeks = [int(week) for week in re.findall(r"\d\d", column.name[column.name.index("_wk") :])]
        listed = re.search(r"visits? of weeks (\d+(?:(?:, | \+ )\d+)*)(?: whose .*|: .*|;.*)?$", column.rule)
        assert listed, column.rule
        assert [int(week) for week in re.findall(r"\d+", listed[1])] == weeks


def test_endpoints_of_a_protocol_without_those_visits_keep_their_columns():
    short = VISITS[:3]
    row = made(subject(labels=["wk00", "wk04", "wk12"]), visits=short)["endpoints.csv"][0]
    assert tuple(row) == ENDPOINTS.names
    assert row["gel_count_wk04_12_24_available"] == 3
    assert row["gel_count_wk04_12_24_visits"] == 2
    assert row["gel_count_wk04_12_24_complete"] is None
    assert row["gel_count_wk28_36_48_available"] is None
    assert row["t2_volume_ml_wk24"] is None
    assert row["visits_planned"] == 3


def test_sessions_without_week_and_double_weeks_have_no_endpoint():
    visits = found_visits(["1", "wk04", "wk4"])
    row = made(subject(labels=["1", "wk04", "wk4"]), visits=visits)["endpoints.csv"][0]
    assert row["gel_count_wk04_12_24_visits"] == 0
    assert row["visits_analysed"] == 3


@pytest.mark.requirement("TABLE-01")
def test_a_missed_visit_adds_a_row_and_changes_no_number():
    extra = found_visits(sorted([*LABELS, "wk08"]))
    one = subject()
    without, added = made(one), made(one, visits=extra)
    rows = [row for row in added["lesion_timepoints.csv"] if row["visit"] != "wk08"]
    assert rows == without["lesion_timepoints.csv"]
    assert added["lesions.csv"] == without["lesions.csv"]
    planned = {"visits_planned": len(extra)}
    assert added["endpoints.csv"] == [row | planned for row in without["endpoints.csv"]]


def test_read_status_of_a_subject_is_the_least_advanced():
    reads = dict.fromkeys(LABELS, ReadStatus.LOCKED) | {"wk28": ReadStatus.CONFIRMED}
    assert made(subject(reads=reads))["endpoints.csv"][0]["read_status"] == "confirmed"
    assert made(SubjectInput(SubjectResult("BCDF2345")))["endpoints.csv"][0]["read_status"] is None


# --- files -----------------------------------------------------------------------------------------------------


def test_files_are_the_same_bytes_whatever_the_order(tmp_path):
    one, two = subject("BCDF2345"), subject("XCDF2345", labels=LABELS[:3])
    shuffled = replace(
        one, result=replace(one.result, visits=one.result.visits[::-1], lesions=one.result.lesions[::-1])
    )
    for folder, subjects in (("a", [one, two]), ("b", [two, shuffled])):
        write_tables(tmp_path / folder, subjects, VISITS, study="mesems", provisional=True, settings_digest="x")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == [
        "data_dictionary.json", "endpoints.csv", "lesion_timepoints.csv", "lesions.csv", "nv.csv", "questions.csv",
        "supplementary_timepoints.csv",
    ]  # fmt: skip
    for name in names:
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        assert b"\r" not in content
        content.decode("utf-8")


def test_tables_that_do_not_fit_into_memory_have_the_same_bytes(tmp_path, monkeypatch):
    subjects = [subject("XCDF2345"), subject("BCDF2345", labels=LABELS[:3])]
    kept = table_texts(subjects, VISITS, study="mesems", provisional=True)
    monkeypatch.setattr(tables_io, "_IN_MEMORY", 100)
    spilled = table_texts(subjects, VISITS, study="mesems", provisional=True, scratch=tmp_path)
    assert spilled._file._rolled
    assert [spilled[table.file] for table in TABLES] == [kept[table.file] for table in TABLES]
    assert list(tmp_path.iterdir()) == []


def test_numbers_in_the_files(tmp_path):
    write_tables(tmp_path, [subject(labels=LABELS[:2])], VISITS, study="mesems", provisional=True)
    first, second, third = read_table(tmp_path / "lesion_timepoints.csv")[:3]
    assert (first["t2_volume_ml"], first["gel_new_count"], second["t2_volume_ml"]) == ("1.2346", "", "2.2346")
    assert third["t2_count"] == ""
    found = read_table(tmp_path / "lesions.csv")[0]
    assert (found["volume_mm3"], found["x_mm"], found["y_mm"], found["enhancing"]) == (
        "30.12",
        "-1.00",
        "2.00",
        "true",
    )


def test_dictionary_describes_exactly_the_columns(tmp_path):
    write_tables(tmp_path, [subject()], VISITS, study="mesems", provisional=False, settings_digest="abc")
    dictionary = json.loads((tmp_path / "data_dictionary.json").read_text())
    assert (dictionary["settings_digest"], dictionary["provisional"]) == ("abc", False)
    for name, table in dictionary["tables"].items():
        with (tmp_path / name).open(newline="") as stream:
            assert next(csv.reader(stream)) == [column["name"] for column in table["columns"]]
        assert all(column.keys() >= {"name", "type", "unit", "rule", "missing"} for column in table["columns"])
        assert {column["type"] for column in table["columns"]} <= TYPES


def test_nothing_is_written_when_an_input_is_wrong(tmp_path):
    with pytest.raises(UsageError):
        write_tables(tmp_path / "t", [subject(), subject()], VISITS, study="mesems", provisional=True)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("t2_count", 1.0, "expected integer"),
        ("t2_count", True, "expected integer"),
        ("t2_volume_ml", Decimal("1.23"), "4 decimals"),
        ("scan_status", "lost", "expected one of"),
        ("visit", None, "expected a value"),
    ],
)
def test_a_row_that_does_not_fit_its_definition_is_a_fault(column, value, fault):
    row = made(subject())["lesion_timepoints.csv"][0]
    with pytest.raises(ValueError, match=fault):
        check_rows(TIMEPOINTS, [row | {column: value}])
    with pytest.raises(ValueError, match="columns of the schema"):
        check_rows(TIMEPOINTS, [{**row, "arm": "A"}])


def test_not_finite_numbers_never_reach_a_table():
    with pytest.raises(ValueError, match="finite"):
        quantised(float("nan"), 4)


def test_endpoint_row_of_one_visit_without_week():
    row = made(subject(labels=["1"]), visits=found_visits(["1"]))["lesion_timepoints.csv"]
    assert endpoint_row(row)["visits_analysed"] == 1


def test_the_fault_of_a_table_names_the_row():
    rows = made(subject())["lesion_timepoints.csv"][:3]
    with pytest.raises(ValueError, match=r"lesion_timepoints\.csv, row 3, t2_count: expected integer"):
        check_rows(TIMEPOINTS, [*rows[:2], rows[2] | {"t2_count": 1.5}])
    with pytest.raises(ValueError, match=r"lesion_timepoints\.csv, row 2: expected the columns"):
        check_rows(TIMEPOINTS, [rows[0], {**rows[1], "arm": "A"}])


@given(column=st.sampled_from([c for table in TABLES for c in table.columns]), data=st.data())
def test_a_column_is_valid_if_each_of_its_values_is(column, data):
    decimals = st.decimals(allow_nan=True) | st.builds(quantised, st.floats(-9, 9), st.integers(0, 6))
    words = st.text(max_size=3) | st.sampled_from(column.values or ("",))
    values = data.draw(st.lists(st.none() | st.booleans() | st.integers() | decimals | words, max_size=4))
    assert _all_valid(values, column) == (not any(_fault(value, column) for value in values))


def test_a_value_of_another_type_never_reaches_a_table():
    wrong = VisitCounts("wk00", gel_count=1, t2_count=True)
    one = SubjectInput(SubjectResult("BCDF2345", (wrong,)), {"wk00": ScanStatus.ANALYSED})
    with pytest.raises(ValueError, match=r"lesion_timepoints\.csv, row 1, t2_count: expected integer"):
        made(one)
