"""The report of a subject after a read: masks, counts and status as in the tables."""

import multiprocessing
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.locks import exclusive
from mri_pipeline.core.io.results import load_result, save_result
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import VisitQuality
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Registry, ScanState
from mri_pipeline.tables.io import read_table
from qc.reports.subject import files
from qc.reports.subject.files import write_report
from reading_centre import cli
from reading_centre.use_cases.analysis import report_job, subject_reports
from reading_centre.use_cases.analysis.report_job import start_renewal
from reading_centre.use_cases.analysis.subject_jobs import make_job
from reading_centre.use_cases.analysis.subject_reports import refresh_reports, write_trial_index
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads, unlock_read
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.staging import only_writer
from tests.unit.reading_trial import copy_of, decide, edit_protocol, opened, write_unread_trial

CODE = "BENCH000"
COLUMNS = {
    "GEL": "gel_count",
    "T2": "t2_count",
    "new T2": "new_t2_count",
    "combined unique active": "combined_unique_active_count",
}


@pytest.fixture(autouse=True)
def remembered(monkeypatch):
    """Checks of files that are seconds old are remembered, too."""
    monkeypatch.setattr("reading_centre.use_cases.analysis.checked.SETTLED_S", -60.0)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A trial whose subject has all files of an analysis that a report shows, and the report of the analysis."""
    trial = write_unread_trial(tmp_path_factory.mktemp("reports") / "trial")
    with opened(trial) as registry:
        visits = [visit.visit for visit in registry.subject(CODE).visits]
        for visit in visits:
            flair = nifti.load_image(trial.derivatives.image(CODE, visit, Contrast.FLAIR))
            nifti.save(LabelImage(flair.data > 0, flair.grid), trial.derivatives.brain_mask(CODE, visit))
            none = LabelImage(np.zeros(flair.grid.shape, np.uint8), flair.grid)
            nifti.save(none, trial.derivatives.lesions(CODE, visit))
            name = f"sub-{CODE}_ses-{visit}_FLAIR.nii.gz"
            nifti.save(flair, trial.rawdata.anat(CODE, visit) / name)
        job = make_job(trial, registry._protocol, registry.subject(CODE))
    write_report(job, load_result(trial.derivatives.result(CODE)))
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


def report_of(trial):
    return (trial.reports / f"sub-{CODE}.html").read_text()


def counts_of(html):
    """The table "Counts by visit"."""
    table = re.search(r'<table class="counts">(.*?)</table>', html, re.DOTALL).group(1)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
    return {re.sub("<.*?>", "", row[0]): dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def read_some(trial, tmp_path):
    worklist = tmp_path / "worklist"
    export_reads(trial.root, worklist)
    decide(worklist, lambda code, row: "reject" if row["type"] != "T2" else "accept")
    import_reads(trial.root, worklist, reader="R1")


def test_after_a_read_the_report_has_the_numbers_of_the_tables_and_says_whose(trial, tmp_path):
    automatic = report_of(trial)
    assert "Automatic result" in automatic
    assert refresh_reports(trial.root) == []
    assert report_of(trial) == automatic
    read_some(trial, tmp_path)
    assert refresh_reports(trial.root) == []
    html = report_of(trial)
    write_trial_tables(trial.root, provisional=True)
    tables = {row["visit"]: row for row in read_table(trial.tables / "lesion_timepoints.csv")}
    shown, before = counts_of(html), counts_of(automatic)
    assert shown.keys() == tables.keys()
    for visit, row in tables.items():
        assert shown[visit]["read"] == "confirmed by R1"
        for title, column in COLUMNS.items():
            assert shown[visit][title] == str(row[column] or (0 if row[column] == 0 else "")), (visit, title)
    assert sum(int(row["GEL"]) for row in before.values()) > 0
    assert {row["GEL"] for row in shown.values()} == {"0"}
    assert 'class="o o-gel"' not in html.split("</nav>")[1].split('<div class="legend">')[1].split("</div>", 1)[1]
    assert "<b>Confirmed.</b>" in html
    # the rows of the activity: every new lesion of the table, with its number
    for part in html.split('<article id="visit-')[1:]:
        visit = part[:4]
        assert part.count('<tr><td class="what"><b>') == int(tables[visit]["new_or_enlarging_t2_count"] or 0)


def test_lock_and_unlock_change_the_status(trial, tmp_path):
    read_some(trial, tmp_path)
    lock_reads(trial.root, reader="R1")
    assert refresh_reports(trial.root) == []
    assert "<b>Locked.</b>" in report_of(trial)
    assert {row["read"] for row in counts_of(report_of(trial)).values()} == {"locked by R1"}
    unlock_read(trial.root, subject=CODE, visit="wk04", reader="R1", reason="correction")
    assert refresh_reports(trial.root) == []
    assert counts_of(report_of(trial))["wk04"]["read"] == "automatic"
    assert "Automatic result" in report_of(trial)


def test_a_process_of_its_own_renews_the_reports(trial, tmp_path):
    read_some(trial, tmp_path)
    start_renewal(trial)
    for process in multiprocessing.active_children():
        process.join(120)
    assert "confirmed by R1" in report_of(trial)
    shutil.rmtree(trial.reports)
    start_renewal(trial)
    assert multiprocessing.active_children() == []


def test_a_report_that_cannot_be_written_is_named_and_the_others_stay(trial, tmp_path, capsys):
    read_some(trial, tmp_path)
    before = report_of(trial)
    trial.derivatives.brain_mask(CODE, "wk04").unlink()
    assert cli.invoke(["tables", str(trial.root), "--provisional"]) == 0
    assert f"sub-{CODE}: the report could not be renewed: " in capsys.readouterr().err
    assert report_of(trial) == before


def test_only_reports_that_are_not_true_any_more_are_written(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    refresh_reports(trial.root)
    monkeypatch.setattr(files, "write_report", None)
    assert refresh_reports(trial.root) == []
    (trial.reports / f"sub-{CODE}.html").unlink()
    assert refresh_reports(trial.root) == []


def other_result(trial):
    path = trial.derivatives.result(CODE)
    result = load_result(path)
    save_result(replace(result, quality=(VisitQuality("wk04", "seen", False, 0.5, ()),)), path)


@pytest.mark.parametrize(
    "change",
    [
        other_result,
        lambda trial: edit_protocol(trial, 'name = "mesems"', 'name = "other"'),
        lambda trial: os.utime(trial.derivatives.image(CODE, "wk04", Contrast.FLAIR)),
        lambda trial: os.utime(trial.rawdata.anat(CODE, "wk12") / f"sub-{CODE}_ses-wk12_FLAIR.nii.gz"),
        lambda trial: (trial.reports / f"sub-{CODE}.html").write_text("by an earlier version"),
        lambda trial: withdraw(trial, "wk48"),
    ],
    ids=["result", "protocol", "image", "scan", "earlier version", "withdrawn"],
)
def test_a_report_is_written_again_after_each_change_of_what_it_shows(trial, monkeypatch, change):
    assert refresh_reports(trial.root) == []
    change(trial)
    written = []
    monkeypatch.setattr(subject_reports, "_renew", lambda *args: written.append(args[-1]))
    assert refresh_reports(trial.root) == []
    assert written == [CODE]


def test_a_report_is_written_under_the_lock_of_its_subject(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    before = report_of(trial)
    monkeypatch.setattr(subject_reports, "WAIT_S", 0.1)
    with only_writer(trial, CODE):
        (message,) = refresh_reports(trial.root)
    assert message.startswith(
        f"sub-{CODE}: the report could not be renewed: subject {CODE}: an upload or analysis is in progress"
    )
    assert report_of(trial) == before
    assert refresh_reports(trial.root) == []
    assert "confirmed by R1" in report_of(trial)


# --- the page over all subjects ----------------------------------------------------------------------------------


def index_of(trial):
    """Rows of the index by visit, and its text."""
    html = (trial.reports / "index.html").read_text()
    titles, *rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    names = re.findall(r"<th[^>]*>(.*?)</th>", titles)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)}, html


def write_index(trial):
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        write_trial_index(trial, protocol, registry)


def test_the_index_has_the_numbers_of_the_tables_and_says_whose(trial, tmp_path):
    write_index(trial)
    automatic, html = index_of(trial)
    assert "They are not confirmed by readers" in html
    assert "read" not in automatic["wk04"]
    read_some(trial, tmp_path)
    assert refresh_reports(trial.root) == []
    rows, html = index_of(trial)
    assert "<b>Confirmed.</b>" in html
    write_trial_tables(trial.root, provisional=True)
    tables = {row["visit"]: row for row in read_table(trial.tables / "lesion_timepoints.csv")}
    assert rows.keys() == tables.keys()
    for visit, row in tables.items():
        assert rows[visit]["read"] == "confirmed by R1"
        for title, column in list(COLUMNS.items())[:3]:
            assert rows[visit][title] == str(row[column] or (0 if row[column] == 0 else "")), (visit, title)
    assert rows != automatic
    lock_reads(trial.root, reader="R1")
    assert refresh_reports(trial.root) == []
    assert "<b>Locked.</b>" in index_of(trial)[1]
    assert {row["read"] for row in index_of(trial)[0].values()} == {"locked by R1"}
    unlock_read(trial.root, subject=CODE, visit="wk04", reader="R1", reason="correction")
    assert refresh_reports(trial.root) == []
    rows, html = index_of(trial)
    assert (rows["wk04"]["read"], rows["wk12"]["read"]) == ("automatic", "locked by R1")
    assert "see the column “read”" in html
    assert rows["wk04"]["T2"] == automatic["wk04"]["T2"]


def test_the_index_shows_no_numbers_that_the_tables_refuse(trial, tmp_path):
    write_index(trial)
    read_some(trial, tmp_path)
    path = next(trial.reads.rglob("readers/R1/01/t2_lesions.nii.gz"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    (message,) = refresh_reports(trial.root)
    assert "expected the confirmed t2_lesions.nii.gz" in message
    rows, html = index_of(trial)
    assert "<b>failed:</b> no numbers of its reads: subject" in html
    assert {row["T2"] for row in rows.values()} == {""}


def test_numbers_of_the_index_are_counted_once(trial, tmp_path, monkeypatch):
    write_index(trial)
    read_some(trial, tmp_path)
    assert refresh_reports(trial.root) == []
    before = index_of(trial)
    monkeypatch.setattr(subject_reports, "counted_masks", None)
    assert refresh_reports(trial.root) == []
    assert index_of(trial) == before
    monkeypatch.undo()
    shutil.rmtree(trial.work)
    assert refresh_reports(trial.root) == []
    assert index_of(trial) == before


# --- commands ----------------------------------------------------------------------------------------------------


def test_the_commands_renew_the_reports(trial, tmp_path):
    worklist = tmp_path / "worklist"
    export_reads(trial.root, worklist)
    decide(worklist)
    assert cli.invoke(["read", str(trial.root), "--import", str(worklist), "--reader", "R1"]) == 0
    assert "confirmed by R1" in report_of(trial)
    assert cli.invoke(["read", str(trial.root), "--lock", "--reader", "R1"]) == 0
    assert "locked by R1" in report_of(trial)


def withdraw(trial, *visits):
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        for visit in registry.subject(CODE).visits:
            if visit.scan is not ScanState.MISSING and (not visits or visit.visit in visits):
                registry.record_withdrawal(CODE, visit.visit, reason="consent", by="DM", kept_in="x")


def test_a_subject_whose_scans_are_all_withdrawn_has_no_report_and_no_numbers(trial, tmp_path):
    write_index(trial)
    read_some(trial, tmp_path)
    refresh_reports(trial.root)
    withdraw(trial)
    assert refresh_reports(trial.root) == []
    assert not (trial.reports / f"sub-{CODE}.html").exists()
    rows, html = index_of(trial)
    assert "1 subject: <b>1</b> no usable scan." in html
    assert {row["T2"] for row in rows.values()} == {""}
    assert refresh_reports(trial.root) == []


@pytest.mark.requirement("BLIND-01")
def test_a_report_has_no_site_and_no_patient(trial, tmp_path):
    read_some(trial, tmp_path)
    refresh_reports(trial.root)
    text = re.sub(r"base64,[^\"]*", "", report_of(trial))
    for word in ("S01", "0001", str(trial.root)):
        assert word not in text


def test_one_process_at_a_time_renews_the_reports_and_looks_again(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    wanted, calls = report_job._wanted(trial), []
    wanted.parent.mkdir(exist_ok=True)
    wanted.touch()
    with exclusive(trial.work / "renewal.lock", wait_s=0):
        report_job.renew_wanted(trial)  # another process renews them
    assert wanted.exists()

    def refresh(folder):
        calls.append(folder)
        if len(calls) == 1:
            wanted.touch()  # a signature meanwhile
        return []

    monkeypatch.setattr(report_job, "refresh_reports", refresh)
    report_job.renew_wanted(trial)
    assert len(calls) == 2
    assert not wanted.exists()


def test_a_report_is_made_without_the_lock_of_its_subject(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    plain, seen = files.write_report, []

    def write(job, *more):
        with exclusive(trial.subject_lock(CODE), wait_s=0):  # a reader opens the next case
            seen.append(job.reports)
        return plain(job, *more)

    monkeypatch.setattr(files, "write_report", write)
    assert refresh_reports(trial.root) == []
    assert seen[0] != trial.reports
    assert "confirmed by R1" in report_of(trial)
    assert not list(trial.reports.glob(".report-*"))


def test_a_read_that_changes_while_its_report_is_made_is_shown(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    plain, calls = files.write_report, []

    def write(job, *more):
        calls.append(1)
        if len(calls) == 1:
            lock_reads(trial.root, reader="R1")
        return plain(job, *more)

    monkeypatch.setattr(files, "write_report", write)
    assert refresh_reports(trial.root) == []
    assert len(calls) == 2
    assert {row["read"] for row in counts_of(report_of(trial)).values()} == {"locked by R1"}


def test_an_index_in_use_leaves_the_command_done(trial, tmp_path, monkeypatch):
    read_some(trial, tmp_path)
    (trial.reports / "index.html").write_text("earlier")
    monkeypatch.setattr(subject_reports, "WAIT_S", 0.1)
    with exclusive(trial.work / "index.lock", wait_s=0):
        (message,) = refresh_reports(trial.root)
    assert message.startswith("the index of the reports could not be renewed: ")


def test_a_read_of_an_analysis_of_other_scans_is_not_locked(trial, tmp_path):
    read_some(trial, tmp_path)
    results = trial.derivatives.result(CODE)
    made = load_result(results)
    labels = [counts.visit for counts in made.visits]
    for other, message in (
        (replace(made, scan_keys={}), f"visit {', '.join(labels)}: the analysis is of a scan that was replaced"),
        (
            replace(made, visits=made.visits[:-1]),
            f"the analysis has the visits {', '.join(labels[:-1])}; visits with an analysed scan: {', '.join(labels)}",
        ),
    ):
        save_result(other, results)
        with pytest.raises(UsageError, match=message):
            lock_reads(trial.root, reader="R1")
    save_result(made, results)
    assert lock_reads(trial.root, reader="R1")["locked"] > 0
