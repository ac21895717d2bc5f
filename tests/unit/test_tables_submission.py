"""nv.xpt, define.xml and the dates of a release, read by independent programs."""

import datetime as dt
import json
import stat
from dataclasses import replace
from importlib.resources import files

import odmlib
import pandas as pd
import pyreadstat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from odmlib import define_loader, loader

from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.tables.inputs import Evaluator
from mri_pipeline.tables.io import read_table, write_tables
from mri_pipeline.tables.release import release_tables
from mri_pipeline.tables.schedule import Schedule, differing_intervals, read_schedule, study_day
from mri_pipeline.tables.sdtm import NV, VARIABLES
from mri_pipeline.tables.xpt import is_number, write_xpt
from tests.unit.test_tables_made import LABELS, VISITS, subject

KEY = {"BCDF2345": ("S01", "0012"), "XCDF2345": ("S02", "0012")}
NUMBERS = [variable.column.name for variable in VARIABLES if is_number(variable)]
DAY = dt.date(2026, 3, 1)


def made(folder, **subjects):
    one = replace(subject(labels=LABELS[:3], wk24=ScanStatus.REFUSED), evaluators={"wk04": Evaluator("R1")})
    two = subject("XCDF2345", labels=LABELS[:2], reads={"wk00": ReadStatus.LOCKED})
    write_tables(folder / "tables", [one, two], VISITS, study="mesems", provisional=True)
    return folder / "tables"


def schedule_file(folder, *rows, head="site,subject,visit,date,rfstdtc"):
    path = folder / "schedule.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.fixture
def released(tmp_path):
    days = [
        f"S01,0012,{visit.label},{DAY + dt.timedelta(weeks=visit.week, days=-1)},{DAY}" for visit in VISITS[:5]
    ]
    schedule = read_schedule(
        schedule_file(tmp_path, *days, "S02,0012,wk00,2026-05-02,", "S02,12,wk04,2026-06-02,"), LABELS
    )
    release_tables(made(tmp_path), tmp_path / "out", KEY, reason="final analysis", schedule=schedule)
    return tmp_path / "out"


def equal_to_csv(frame, rows):
    assert list(frame.columns) == list(NV.names)
    assert len(frame) == len(rows)
    for name in NV.names:
        texts = [row[name] for row in rows]
        if name in NUMBERS:
            expected = [float(text) if text else None for text in texts]
            assert [None if pd.isna(value) else value for value in frame[name]] == expected
        else:
            assert ["" if pd.isna(value) else value for value in frame[name]] == texts


@pytest.mark.requirement("TABLE-06")
def test_the_transport_file_equals_the_csv_for_two_readers(released):
    rows = read_table(released / "nv.csv")
    frame, about = pyreadstat.read_xport(released / "nv.xpt")
    equal_to_csv(frame, rows)
    assert about.column_names_to_labels == {v.column.name: v.label for v in VARIABLES}
    assert (about.table_name, about.file_label) == ("NV", "Nervous System Findings")
    other = pd.read_sas(released / "nv.xpt", format="xport", encoding="latin-1")
    zeros = other["NVSTRESN"].abs() < 1e-70  # pandas reads the zero of an IBM float as 16 ** -65
    equal_to_csv(other.assign(NVSTRESN=other["NVSTRESN"].mask(zeros, 0.0)), rows)
    assert (released / "nv.xpt").read_bytes().startswith(b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!")
    assert stat.S_IMODE((released / "nv.xpt").stat().st_mode) == 0o600


@settings(max_examples=10)
@given(st.lists(st.decimals(0, 10**6, places=5), min_size=1, max_size=100))
def test_numbers_of_a_transport_file_are_those_of_the_text(tmp_path_factory, numbers):
    rows = [dict.fromkeys(NV.names, "") | {"NVSTRESN": f"{number:f}"} for number in numbers]
    path = write_xpt(tmp_path_factory.mktemp("xpt") / "nv.xpt", "NV", "x", VARIABLES, rows)
    assert pyreadstat.read_xport(path)[0]["NVSTRESN"].tolist() == [float(number) for number in numbers]


def test_dates_are_those_of_the_schedule(released):
    rows = read_table(released / "nv.csv")
    found = {(row["USUBJID"], row["VISIT"]): (row["NVDTC"], row["NVDY"]) for row in rows}
    assert found["mesems-S01-0012", "wk00"] == ("2026-02-28", "-1")
    assert found["mesems-S01-0012", "wk04"] == ("2026-03-28", "28")
    assert found["mesems-S01-0012", "wk24"] == ("2026-08-15", "168")  # refused: there was a scan
    assert found["mesems-S01-0012", "wk28"] == ("", "")  # no scan, whatever the schedule says
    assert found["mesems-S02-0012", "wk00"] == ("2026-05-02", "")  # no reference date
    assert found["mesems-S02-0012", "wk04"] == ("", "")
    dictionary = json.loads((released / "data_dictionary.json").read_text())
    assert dictionary["dates"] == (
        "from schedule.csv; it has no date of 1 of 6 visits with a scan, "
        "and 1 of its dates are of no subject of the trial"
    )


def test_without_schedule_the_dates_are_empty_and_the_dictionary_says_why(tmp_path):
    found = release_tables(made(tmp_path), tmp_path / "out", KEY, reason="final analysis")
    assert found.dates == "none, because the release had no schedule of the sites"
    assert {(row["NVDTC"], row["NVDY"]) for row in read_table(tmp_path / "out" / "nv.csv")} == {("", "")}
    assert found.dates in (tmp_path / "out" / "define.xml").read_text()
    pyreadstat.read_xport(tmp_path / "out" / "nv.xpt")


# --- define.xml ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def define_schema():
    path = files(odmlib) / "schemas" / "define" / "2.1" / "define2-1-0.xsd"
    return etree.XMLSchema(etree.parse(str(path)))


@pytest.mark.requirement("TABLE-06")
def test_define_xml_is_valid_against_the_schema_of_cdisc(released, define_schema):
    tree = etree.parse(str(released / "define.xml"))
    define_schema.assertValid(tree)
    del tree.getroot().attrib["{http://www.cdisc.org/ns/def/v2.1}Context"]
    assert not define_schema.validate(tree)


def test_every_reference_of_define_xml_has_its_definition(released):
    root = etree.parse(str(released / "define.xml")).getroot()
    defined = {
        element.get("OID") or element.get("ID")
        for element in root.iter()
        if element.get("OID") or element.get("ID")
    }
    named = {
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name.rpartition("}")[2] in {
            "ItemOID", "MethodOID", "CodeListOID", "ValueListOID", "WhereClauseOID", "CommentOID", "StandardOID",
            "ArchiveLocationID",
        }
    }  # fmt: skip
    assert len(named) > 60
    assert named <= defined
    unused = {oid for oid in defined - named if oid.startswith(("IT.", "CL.", "MT.", "WC.", "COM.", "VL."))}
    assert not unused


def test_define_xml_describes_the_data(released):
    ours = define_loader.XMLDefineLoader(model_package="define_2_1", ns_uri="http://www.cdisc.org/ns/def/v2.1")
    reader = loader.ODMLoader(ours)
    reader.open_odm_document(str(released / "define.xml"))
    version = reader.MetaDataVersion()
    (group,) = version.ItemGroupDef
    items = {item.OID: item for item in version.ItemDef}
    referenced = [items[reference.ItemOID] for reference in group.ItemRef]
    assert [item.Name for item in referenced] == list(NV.names)
    frame, about = pyreadstat.read_xport(released / "nv.xpt")
    codes = {
        listed.OID: {item.CodedValue for item in [*listed.CodeListItem, *listed.EnumeratedItem]}
        for listed in version.CodeList
    }
    for item in referenced:
        assert item.Description.TranslatedText[0]._content == about.column_names_to_labels[item.Name]
        cells = frame[item.Name].replace("", None).dropna()
        if item.DataType == "text":
            assert item.Length == about.variable_storage_width[item.Name] or cells.empty
        else:
            assert (item.Name in NUMBERS) is (item.DataType in {"integer", "float"})
        if item.DataType == "integer":
            assert (cells == cells.round()).all()
        if item.CodeListRef:
            assert set(cells) <= codes[item.CodeListRef.CodeListOID]
    for test in {row["NVTESTCD"] for row in read_table(released / "nv.csv")}:
        rows = frame[frame["NVTESTCD"] == test]["NVORRES"].replace("", None).dropna()
        item = items[f"IT.NV.NVORRES.{test}"]
        assert item.DataType == ("float" if test.endswith("VOL") else "text" if test == "LSNCHG" else "integer")
        assert all(len(text) <= item.Length for text in rows)


def test_terms_of_the_sponsor_are_marked(released):
    root = etree.parse(str(released / "define.xml")).getroot()
    extended = "{http://www.cdisc.org/ns/def/v2.1}ExtendedValue"
    marked = {
        listed.get("OID"): {item.get("CodedValue") for item in listed if item.get(extended) == "Yes"}
        for listed in root.iter("{*}CodeList")
    }
    assert marked["CL.NVEVAL"] == {"ADJUDICATOR"}
    assert marked["CL.NVLOC"] == {"PERIVENTRICULAR", "JUXTACORTICAL", "INFRATENTORIAL", "DEEP WHITE MATTER"}
    assert len(marked["CL.NVTESTCD"]) == 18
    assert marked["CL.NVSTAT"] == marked["CL.NVORRESU"] == marked["CL.NVBLFL"] == set()


def test_a_name_with_markup_is_escaped(tmp_path, define_schema):
    write_tables(tmp_path / "t", [subject(labels=LABELS[:1])], VISITS, study='A & "B" <c>', provisional=True)
    release_tables(tmp_path / "t", tmp_path / "out", KEY, reason="x", usubjid="{site}/{subject}".replace("/", "."))
    tree = etree.parse(str(tmp_path / "out" / "define.xml"))
    define_schema.assertValid(tree)
    assert tree.findtext(".//{*}StudyName") == 'A & "B" <c>'


# --- USUBJID and texts -----------------------------------------------------------------------------------------


def test_usubjid_follows_its_pattern(tmp_path):
    tables = made(tmp_path)
    release_tables(tables, tmp_path / "one", KEY, reason="x", usubjid="{study}.{subject}_{site}")
    assert {row["USUBJID"] for row in read_table(tmp_path / "one" / "nv.csv")} == {
        "mesems.0012_S01",
        "mesems.0012_S02",
    }
    assert "{study}.{subject}_{site}" in (tmp_path / "one" / "data_dictionary.json").read_text()
    with pytest.raises(UsageError, match="expected a different USUBJID of each subject, found the same of two"):
        release_tables(tables, tmp_path / "two", KEY, reason="x", usubjid="{study}-{subject}")
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    "pattern", ["{site}", "{subject} {site}", "{subject}{arm}", "{subject!r}", "{subject:>9}", "{"]
)
def test_a_pattern_without_subject_or_with_other_fields_is_refused(pattern):
    with pytest.raises(SettingsError, match=r"usubjid: .* expected \{subject\}"):
        parse_protocol(f'usubjid = "{pattern}"\n' + protocol_text())


def test_the_pattern_changes_no_digest_of_the_settings():
    one, other = (
        parse_protocol(f'usubjid = "{p}"\n' + protocol_text()) for p in ("{subject}", "{site}.{subject}")
    )
    assert settings_digest(one) == settings_digest(other)


def test_a_text_that_a_transport_file_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    write_tables(tmp_path / "t", [subject(labels=LABELS[:1])], VISITS, study="Étude", provisional=True)
    with pytest.raises(UsageError, match="STUDYID: expected ASCII text of at most 200 characters"):
        release_tables(tmp_path / "t", tmp_path / "out", KEY, reason="x")
    assert not (tmp_path / "out").exists()


# --- schedule --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("S01,0012,wk04,31.03.2026,", r"^schedule\.csv, line 3, column date: expected a date such as 2026-03-31"),
        ("S01,0012,wk04,20260331,", r"line 3, column date: expected a date"),
        ("S01,0012,wk04,2026-02-30,", r"line 3, column date: expected a date"),
        (
            "S01,0012,wk05,2026-03-31,",
            r"line 3, column visit: expected a planned .* found a label of 4 characters",
        ),
        ("S01,0012,wk00,2026-03-31,", r"line 3, column visit: expected every visit once, found it twice"),
        ("S01,0012,wk04,2026-03-31,2026-03-02", r"line 3, column rfstdtc: expected one reference date"),
        ("S01,,wk04,2026-03-31,", r"line 3, column subject: expected a value, found none"),
    ],
)
def test_a_schedule_that_is_refused_names_its_place(tmp_path, row, message):
    path = schedule_file(tmp_path, "S01,0012,wk00,2026-03-01,2026-03-01", row)
    with pytest.raises(UsageError, match=message) as caught:
        read_schedule(path, LABELS)
    assert "0012" not in caught.value.message


def test_a_schedule_of_a_spreadsheet_without_reference(tmp_path):
    (tmp_path / "s.csv").write_bytes("sep=;\nsite;subject;visit;date\nS01;0012;wk00;2026-03-01\n".encode("utf-16"))
    schedule = read_schedule(tmp_path / "s.csv", LABELS)
    assert schedule.cells("S01", "0012", "wk00") == ("2026-03-01", "")
    assert schedule.cells("S01", "0012", "wk04") == schedule.cells("S02", "0012", "wk00") == ("", "")


@given(st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)), st.integers(-400, 400))
def test_study_days_count_without_zero(reference, days):
    day = study_day(reference + dt.timedelta(days=days), reference)
    assert day != 0
    assert day == (days + 1 if days >= 0 else days)


def test_a_date_that_contradicts_the_scan_is_found(tmp_path):
    rows = ["S01,0012,wk00,2026-03-01,", "S01,0012,wk04,2026-03-29,", "S01,0012,wk12,2026-05-24,"]
    schedule = read_schedule(schedule_file(tmp_path, *rows), LABELS)
    shifted = {("S01", "0012", label): 700_000 + days for label, days in (("wk00", 0), ("wk04", 28), ("wk12", 84))}
    assert differing_intervals(schedule, shifted) == []
    assert differing_intervals(schedule, shifted | {("S01", "0012", "wk04"): 700_021}) == [
        "schedule.csv, line 3, column date"
    ]
    assert differing_intervals(schedule, {}) == differing_intervals(Schedule(), shifted) == []
