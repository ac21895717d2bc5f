"""The index page over all subjects: rows, links, escaping, and what it must not show."""

import re

import pytest

from mri_pipeline.core.records import VisitCounts
from qc.reports.index import AnalysisState, SubjectEntry, VisitEntry, write_index
from tests.unit.html_page import Page

DONE = SubjectEntry(
    "01",
    AnalysisState.DONE,
    (
        VisitEntry("wk00", "analysed", VisitCounts("wk00", t2_count=3, t2_volume_ml=0.514, gel_count=0)),
        VisitEntry(
            "wk04", "analysed",
            VisitCounts("wk04", "wk00", t2_count=4, new_t2_count=1, enlarging_t2_count=0, gel_count=2, bh_count=1),
        ),
        VisitEntry("wk12", "missing"),
    ),
    qc_flags=("wk04: T2w excluded",),
    report="sub-01.html",
    order_source="acq_time",
    ignored=("sub-01/anat/a.nii.gz: no contrast", "sub-01/anat/b.nii.gz: run 2"),
)  # fmt: skip
FAILED = SubjectEntry("02", AnalysisState.FAILED, (VisitEntry("wk00", "failed"),), reason="no brain found")


@pytest.fixture
def write(tmp_path):
    def write(*subjects):
        page = write_index(tmp_path, subjects, settings_digest="abc123", software={"mri-pipeline": "9.8"})
        return page.read_text(encoding="utf-8")

    return write


def test_a_row_for_every_visit_with_its_counts(write):
    rows = Page(write(DONE, FAILED)).rows
    assert rows[0] == ["subject", "visit", "scan", "T2", "T2 mL", "new T2", "enlarging T2", "GEL", "new GEL", "BH"]
    assert rows[1][1:] == ["wk00", "analysed", "3", "0.51", "", "", "0", "", ""]
    assert rows[2] == ["wk04", "analysed", "4", "", "1", "0", "2", "", "1"]
    assert rows[3] == ["wk12", "missing", *[""] * 7]
    assert rows[5][1:] == ["wk00", "failed", *[""] * 7]


def test_state_reason_flags_and_unused_files_of_a_subject(write):
    page = write(DONE, FAILED)
    rows = Page(page).rows
    assert rows[1][0] == "sub-01done"
    assert rows[5][0] == "sub-02failed, no report"
    assert "wk04: T2w excluded" in rows[4][0]
    assert "2 anatomical files not used" in rows[4][0]
    assert "sub-01/anat/b.nii.gz: run 2" in rows[4][0]
    assert "Order of visits from acq_time" in rows[4][0]
    assert rows[6] == ["failed: no brain found"]
    assert "2 subjects: <b>1</b> done, <b>1</b> failed." in page
    assert "Settings abc123; mri-pipeline 9.8" in page


def test_links_lead_to_reports_and_to_flagged_subjects_and_nowhere_else(write, tmp_path):
    page = Page(write(DONE, FAILED))
    assert page.links == ["#sub-01", "sub-01.html"]
    assert set(page.ids) == {"sub-01", "sub-02"}
    assert not {"script", "link", "iframe", "object", "form", "img"} & set(page.tags)
    (tmp_path / "CITATION.html").touch()
    assert "CITATION.html" in Page(write(DONE)).links


def test_cells_span_the_rows_of_their_subject(write):
    spans = [int(number) for number in re.findall(r'rowspan="(\d+)"', write(DONE, FAILED))]
    assert spans == [4, 2]
    quiet = SubjectEntry("03", AnalysisState.NOT_ANALYSED, ())
    assert re.findall(r'rowspan="(\d+)"', write(quiet)) == ["1"]
    assert "no visit" in write(quiet)


def test_text_is_escaped(write):
    entry = SubjectEntry(
        '"><script>', AnalysisState.FAILED, (VisitEntry("<i>", "failed"),), reason="<b>", qc_flags=("<u>",),
        report='sub-"><script>.html', ignored=("<s>.nii.gz: why",),
    )  # fmt: skip
    page = write(entry)
    assert not {"script", "i", "u", "s"} & set(Page(page).tags)
    for text in ("&lt;i&gt;", "&lt;b&gt;", "&lt;u&gt;", "&lt;s&gt;.nii.gz"):
        assert text in page


def test_the_page_claims_no_confirmation_and_loads_nothing(write):
    page = write(DONE)
    assert "They are not confirmed by readers" in page
    assert "default-src 'none'" in page
    assert "https://" not in page
    assert "None" not in page


def test_no_subjects_give_a_page_without_a_table_and_equal_input_equal_bytes(write):
    assert "0 subjects." in write()
    assert "table" not in Page(write()).tags
    assert write(DONE) == write(DONE)
