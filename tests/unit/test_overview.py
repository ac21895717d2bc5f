"""The pages over all subjects follow the results and outcomes of `bids`, also when a later run changes some."""

import json
import re
from dataclasses import replace

import pytest

from benchmarks.tables import write_trial
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import save_result
from mri_pipeline.core.protocol import LesionRules, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import RegistrationRecord, SubjectResult, VisitCounts, VisitQuality
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import ScanState
from qc.reports.index import AnalysisState
from reading_centre.cli import invoke
from reading_centre.use_cases.analysis import run
from reading_centre.use_cases.analysis.bids import app as bids
from reading_centre.use_cases.analysis.bids.jobs import ScanSelection
from reading_centre.use_cases.analysis.overview import Listed, _state, latest_result, save_outcome, write_overview
from workflows.outcome import BatchOutcome, Outcome

RULES = LesionRules()


def result_of(subject, *visits, rules=RULES):
    records = (RegistrationRecord(Contrast.FLAIR, "", None, "", failed=False),)
    return SubjectResult(
        subject,
        tuple(VisitCounts(visit, t2_count=7) for visit in visits),
        rules_digest=settings_digest(rules),
        quality=tuple(VisitQuality(visit, "", False, 0.5, records) for visit in visits),
    )


@pytest.fixture
def app(tmp_path, monkeypatch):
    """`bids` on two participants and one without FLAIR; a stand-in analyses all except those named in `fails`."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    for name in (
        "sub-a/anat/sub-a_FLAIR",
        "sub-a/anat/sub-a_T2star",
        "sub-b/anat/sub-b_FLAIR",
        "sub-c/anat/sub-c_T1w",
    ):
        (raw / f"{name}.nii.gz").parent.mkdir(parents=True, exist_ok=True)
        (raw / f"{name}.nii.gz").touch()
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))

    def run(*labels, fails=()):
        def analyse(jobs, _execution, *, finished, **_):
            outcomes = []
            for job in jobs:
                bad = job.subject in fails
                if not bad:
                    visits = [visit.visit for visit in job.visits]
                    save_result(result_of(job.subject, *visits), DerivativeDataset(out).result(job.subject))
                    for name, text in job.beside.items():
                        (DerivativeDataset(out).folder(job.subject) / name).write_text(text)
                    job.reports.mkdir(exist_ok=True)
                    (job.reports / f"sub-{job.subject}.html").write_text("; ".join(job.ignored))
                outcomes.append(Outcome(subject=job.subject, done=not bad, reason="no <brain>" if bad else ""))
                finished(job, outcomes[-1])
            return BatchOutcome(tuple(outcomes))

        monkeypatch.setattr(bids, "run_batch", analyse)
        bids.run_participants(raw, out, selection=ScanSelection(participants=labels), validate=False)
        return (out / "reports" / "index.html").read_text(encoding="utf-8")

    run.raw, run.out = raw, out
    return run


def test_done_failed_and_without_flair(app):
    page = app(fails={"b"})
    assert "3 subjects: <b>1</b> done, <b>2</b> failed." in page
    assert "<b>failed:</b> no &lt;brain&gt;" in page
    assert "<b>failed:</b> no FLAIR found" in page
    assert 'href="sub-a.html"' in page
    assert "sub-b.html" not in page
    assert "single: FLAIR: covers 50 %" in page
    assert "1 anatomical file not used" in page
    assert "sub-a/anat/sub-a_T2star.nii.gz" in page
    assert "sub-a/anat/sub-a_T2star.nii.gz" in (app.out / "reports" / "sub-a.html").read_text()
    assert "of 1 subject (1 visit)" in (app.out / "reports" / "CITATION.md").read_text(encoding="utf-8")


def test_an_ambiguous_participant_fails_alone(app, capfd):
    for name in ("sub-c/anat/sub-c_acq-1_FLAIR", "sub-c/anat/sub-c_acq-2_FLAIR"):
        (app.raw / f"{name}.nii.gz").touch()
    for session in ("late", "early"):
        folder = app.raw / "sub-d" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-d_ses-{session}_FLAIR.nii.gz").touch()
    page = app()
    assert "4 subjects: <b>2</b> done, <b>2</b> failed." in page
    assert "<b>failed:</b> expected one FLAIR per session, found 2: sub-c/anat/sub-c_acq-1_FLAIR.nii.gz, " in page
    assert (
        "<b>failed:</b> expected acq_time or numbers that order the sessions, found the labels early, late" in page
    )
    table = (app.out / "tables" / "lesion_timepoints.csv").read_text().splitlines()
    status = table[0].split(",").index("scan_status")
    assert [(row.split(",")[0], row.split(",")[status]) for row in table[1:]] == [
        ("a", "analysed"), ("b", "analysed"), ("c", "failed"),
    ]  # fmt: skip
    bids.write_group_tables(app.raw, app.out)
    assert "2</b> failed." in (app.out / "reports" / "index.html").read_text(encoding="utf-8")


def test_a_participant_that_becomes_ambiguous_loses_its_earlier_results(app):
    app()
    (app.raw / "sub-a" / "anat" / "sub-a_acq-1_FLAIR.nii.gz").touch()
    page = app("a", "b")
    assert "<b>failed:</b> expected one FLAIR per session" in page
    assert not DerivativeDataset(app.out).result("a").exists()


def test_a_run_without_any_usable_participant_lists_all_problems(app):
    for subject in "ab":
        (app.raw / f"sub-{subject}" / "anat" / f"sub-{subject}_acq-1_FLAIR.nii.gz").touch()
    with pytest.raises(UsageError, match=r"sub-a: expected one FLAIR .*; sub-b: expected one FLAIR"):
        app()


def test_ambiguity_ends_the_command_with_exit_code_4(app, capfd):
    (app.raw / "sub-c" / "anat" / "sub-c_acq-1_FLAIR.nii.gz").touch()
    (app.raw / "sub-c" / "anat" / "sub-c_acq-2_FLAIR.nii.gz").touch()
    app()  # the stand-in stays
    assert invoke(["bids", str(app.raw), str(app.out), "participant", "--skip-bids-validation"]) == 4
    assert "sub-c: FAILED: expected one FLAIR per session, found 2" in capfd.readouterr().out


def test_a_later_run_of_some_participants_changes_the_rows_of_these_alone(app):
    app(fails={"b"})
    page = app("b")
    assert "3 subjects: <b>2</b> done, <b>1</b> failed." in page
    assert 'href="sub-b.html"' in page
    assert "&lt;brain&gt;" not in page
    assert "of 2 subjects (2 visits)" in (app.out / "reports" / "CITATION.md").read_text(encoding="utf-8")
    page = app("a", fails={"a"})
    assert "3 subjects: <b>1</b> done, <b>2</b> failed." in page
    assert "sub-a.html" not in page  # the report of the earlier run is gone with its numbers
    assert "of 1 subject (1 visit)" in (app.out / "reports" / "CITATION.md").read_text(encoding="utf-8")
    app("b", fails={"b"})
    assert not (app.out / "reports" / "CITATION.md").exists()


def test_the_group_level_renews_the_index_of_all_and_keeps_the_methods_text(app):
    app("a")
    text = (app.out / "reports" / "CITATION.md").read_bytes()
    (app.out / "reports" / "index.html").unlink()
    bids.write_group_tables(app.raw, app.out)
    page = (app.out / "reports" / "index.html").read_text(encoding="utf-8")
    assert "3 subjects: <b>1</b> done, <b>1</b> not analysed, <b>1</b> no usable scan." in page
    assert (app.out / "reports" / "CITATION.md").read_bytes() == text
    bids.write_group_tables(app.raw, app.out, selection=ScanSelection(participants=("a",)))
    assert (app.out / "reports" / "index.html").is_file()


def test_a_result_of_other_rules_or_another_format_is_not_shown(tmp_path):
    derivatives = DerivativeDataset(tmp_path)
    other = LesionRules(segmenter=Segmenter(name="x", version="1", command=("x", "{flair}", "{mask}")))
    digest = settings_digest(RULES)
    assert latest_result(derivatives, "a", digest) == (None, "")
    save_result(result_of("a", "1"), derivatives.result("a"))
    assert latest_result(derivatives, "a", digest) == (result_of("a", "1"), "")
    for change in (
        lambda: save_result(result_of("a", "1", rules=other), derivatives.result("a")),
        lambda: derivatives.result("a").write_text("{}"),
    ):
        change()
        result, reason = latest_result(derivatives, "a", digest)
        assert (result, reason.partition(":")[2]) == (None, " run the analysis again")
        listed = Listed("a", {"1": ScanState.ANALYSED}, result, reason)
        assert _state(listed) is AnalysisState.NOT_ANALYSED


def test_a_failed_run_that_kept_earlier_numbers_shows_both(tmp_path):
    derivatives = DerivativeDataset(tmp_path)
    save_result(result_of("a", "1"), derivatives.result("a"))
    save_outcome(derivatives, Outcome(subject="a", done=False, reason="killed", cpu_seconds=3.5))
    assert "3.5" not in derivatives.outcome("a").read_text()  # two equal runs write equal files
    found = latest_result(derivatives, "a", settings_digest(RULES))
    page = write_overview(
        tmp_path / "reports", [Listed("a", {"1": ScanState.ANALYSED}, *found)], settings_digest="d", rules=RULES
    ).read_text(encoding="utf-8")
    assert "<b>failed:</b> killed; the numbers are those of an earlier run" in page
    assert "<td>7</td>" in page


@pytest.mark.parametrize(
    ("scans", "state"),
    [
        ({"1": ScanState.ANALYSED, "2": ScanState.MISSING}, AnalysisState.DONE),
        ({"1": ScanState.ANALYSED, "2": ScanState.REFUSED}, AnalysisState.DONE),
        ({"1": ScanState.ANALYSED, "2": ScanState.FAILED}, AnalysisState.PARTLY),
        ({"1": ScanState.ANALYSED, "2": ScanState.RECEIVED}, AnalysisState.PARTLY),
        ({"1": ScanState.MISSING, "2": ScanState.REFUSED}, AnalysisState.NO_SCAN),  # withdrawn after the analysis
    ],
)
def test_a_visit_that_failed_or_waits_makes_a_subject_partly_done(scans, state):
    assert _state(Listed("a", scans, result_of("a", "1"), "")) is state


def test_a_scan_replaced_since_has_neither_counts_nor_flags(tmp_path):
    listed = Listed("a", {"1": ScanState.RECEIVED}, result_of("a", "1"), "")
    page = write_overview(tmp_path, [listed], settings_digest="d", rules=RULES).read_text(encoding="utf-8")
    assert "<td>7</td>" not in page
    assert "covers 50 %" not in page
    shown = replace(listed, scans={"1": ScanState.ANALYSED})
    page = write_overview(tmp_path, [shown], settings_digest="d", rules=RULES).read_text(encoding="utf-8")
    assert "<td>7</td>" in page
    assert "1: FLAIR: covers 50 %" in page


def test_the_order_of_the_page_is_that_of_the_codes(tmp_path):
    """Not that of the sites, in which the registry lists subjects."""
    listed = [Listed(code, {}, None, "") for code in ("K7QX2", "B3FGH", "ZZ2M4")]
    page = write_overview(tmp_path, listed, settings_digest="d", rules=None).read_text(encoding="utf-8")
    assert page.index("sub-B3FGH") < page.index("sub-K7QX2") < page.index("sub-ZZ2M4")


def test_a_run_of_a_trial_lists_codes_without_sites(tmp_path, monkeypatch):
    trial = write_trial(tmp_path / "trial", subjects=2, shape=(40, 44, 14))

    def analyse(jobs, _execution, *, finished, **_):
        outcomes = [Outcome(subject=j.subject, done=i == 0, reason="no brain" * i) for i, j in enumerate(jobs)]
        for job, outcome in zip(jobs, outcomes, strict=True):
            finished(job, outcome)
        return BatchOutcome(tuple(outcomes))

    monkeypatch.setattr(run, "run_batch", analyse)
    codes = sorted(outcome.subject for outcome in run.run_trial(trial.root).outcomes)
    page = (trial.reports / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<tbody id="sub-(\w+)"', page) == codes
    assert "2 subjects: <b>1</b> done, <b>1</b> failed." in page
    assert "<b>failed:</b> no brain; the numbers are those of an earlier run" in page
    assert not [site.code for site in load_protocol(trial.protocol_file).sites if site.code in page]
