"""Subjects that were checked: a run reads their files again as soon as anything has changed, and only then."""

import os
import time

import pytest

from benchmarks.large_trial import SITE, write_trial
from mri_pipeline.analysis.publication import unfinished_folder
from mri_pipeline.core.derivative_layout import calibration_file, subject_report
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Registry
from qc.reports.index import INDEX_PAGE
from qc.reports.methods import METHODS_TEXT
from reading_centre import cli
from reading_centre.use_cases.analysis import checked
from reading_centre.use_cases.analysis.run import run_trial
from reading_centre.use_cases.analysis.subject_reports import refresh_reports
from workflows import batch
from workflows.outcome import BatchOutcome, Outcome

CHANGED, OTHER = CODES = ["B0000000", "B0000001"]


@pytest.fixture
def trial(tmp_path):
    return write_trial(tmp_path / "trial", subjects=2, lesions=2)


@pytest.fixture
def settled(monkeypatch):
    """The files of a test are seconds old: their state is remembered all the same."""
    monkeypatch.setattr(checked, "SETTLED_S", -60.0)


@pytest.fixture
def looked_at(monkeypatch):
    """Subjects whose files a run has compared with their digests, and whether they are current."""
    found, plain = {}, batch.is_current

    def is_current(job):
        found[job.subject] = plain(job)
        return found[job.subject]

    monkeypatch.setattr(batch, "is_current", is_current)
    return found


def pages(trial):
    return {path: (path.read_bytes(), path.stat().st_ino) for path in trial.reports.iterdir()}


def protocol_of(trial):
    return load_protocol(trial.protocol_file)


def test_a_second_run_reads_and_writes_nothing_and_prints_the_same(trial, settled, looked_at, capsys):
    arguments = ["run", str(trial.root)]
    assert cli.invoke(arguments) == 0
    first, written = capsys.readouterr().out, pages(trial)
    assert looked_at == dict.fromkeys(CODES, True)
    looked_at.clear()
    assert cli.invoke(arguments) == 0
    assert capsys.readouterr().out == first
    assert looked_at == {}
    assert pages(trial) == written
    assert [one.unchanged for one in run_trial(trial.root, subjects=[OTHER]).outcomes] == [True]
    assert looked_at == {}
    assert run_trial(trial.root).reports_current


def rewrite(path):
    """Other content of the same size with the same time."""
    content, found = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def touched(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


CHANGES = {
    "scan": lambda trial: rewrite(trial.rawdata.image(CHANGED, "wk00", Contrast.FLAIR)),
    "further scan": lambda trial: touched(trial.rawdata.unenhanced(CHANGED, "wk00")),
    "removed scan": lambda trial: trial.rawdata.image(CHANGED, "wk00", Contrast.T2W).unlink(),
    "result": lambda trial: rewrite(trial.derivatives.result(CHANGED)),
    "further result": lambda trial: touched(trial.derivatives.brain_mask(CHANGED, "wk00")),
    "provenance": lambda trial: rewrite(trial.derivatives.provenance(CHANGED)),
    "outcome": lambda trial: trial.derivatives.outcome(CHANGED).unlink(),
    "report": lambda trial: subject_report(trial.reports, CHANGED).unlink(),
    "detection rates": lambda trial: touched(calibration_file(trial.reports, CHANGED)),
    "space of the readers": lambda trial: touched(trial.kept_space(CHANGED).record),
    "unfinished analysis": lambda trial: unfinished_folder(trial.derivatives.root, CHANGED).mkdir(),
    "cache": lambda trial: (trial.work / "v0.1-abc" / f"sub-{CHANGED}" / "wf").mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_file_is_looked_at(trial, settled, looked_at, change, monkeypatch):
    run_trial(trial.root)
    assert run_trial(trial.root).outcomes
    looked_at.clear()
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    CHANGES[change](trial)
    found = {one.subject: one for one in run_trial(trial.root).outcomes}
    assert list(looked_at) == [CHANGED]
    assert found[CHANGED].unchanged == looked_at[CHANGED]
    assert found[OTHER].unchanged
    still_current = {"further scan", "outcome", "detection rates", "unfinished analysis", "cache"}
    assert looked_at[CHANGED] == (change in still_current)


def test_another_scan_in_the_registry_is_looked_at(trial, settled, looked_at, monkeypatch):
    run_trial(trial.root)
    looked_at.clear()
    with Registry.open(trial, protocol_of(trial)) as registry:
        registry.record_scan(
            CHANGED, "wk48", site=SITE, upload_digest="other", receipt="r2", replace_because="wrong patient"
        )
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    run_trial(trial.root)
    assert looked_at == {CHANGED: False}


@pytest.mark.parametrize("what", ["rules", "library", "calibrate"])
def test_other_rules_software_or_wishes_look_at_all_subjects(trial, settled, looked_at, monkeypatch, what):
    run_trial(trial.root)
    looked_at.clear()
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    if what == "rules":
        text = trial.protocol_file.read_text()
        assert "t2_min_volume_mm3 = 14.0" in text
        trial.protocol_file.write_text(text.replace("t2_min_volume_mm3 = 14.0", "t2_min_volume_mm3 = 12.5"))
    if what == "library":
        monkeypatch.setattr(checked, "software", lambda: {"numpy": "another version"})
    run_trial(trial.root, calibrate=what == "calibrate")
    assert sorted(looked_at) == CODES


def test_what_has_just_changed_is_not_remembered(trial, looked_at):
    for _ in range(2):
        run_trial(trial.root)
        assert sorted(looked_at) == CODES
        looked_at.clear()


def test_a_change_during_the_check_is_looked_at_by_the_next_run(trial, settled, looked_at, monkeypatch):
    counted = batch.is_current

    def is_current(job):
        found = counted(job)
        if job.subject == CHANGED:
            rewrite(trial.rawdata.image(CHANGED, "wk00", Contrast.FLAIR))
        return found

    monkeypatch.setattr(batch, "is_current", is_current)
    run_trial(trial.root)
    monkeypatch.setattr(batch, "is_current", counted)
    looked_at.clear()
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    assert not next(one for one in run_trial(trial.root).outcomes if one.subject == CHANGED).unchanged
    assert looked_at == {CHANGED: False}


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text('{"results": 1}')])
def test_without_the_memory_all_subjects_are_looked_at(trial, settled, looked_at, damage):
    run_trial(trial.root)
    looked_at.clear()
    damage(trial.work / "checked.json")
    run_trial(trial.root)
    assert looked_at == dict.fromkeys(CODES, True)


def test_what_is_behind_a_link_is_always_looked_at(trial, settled, looked_at, tmp_path, monkeypatch):
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    anat = trial.rawdata.anat(CHANGED, "wk00")
    anat.rename(tmp_path / "elsewhere")
    anat.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        looked_at.clear()
        run_trial(trial.root)
    assert list(looked_at) == [CHANGED]


@pytest.mark.parametrize("page", [INDEX_PAGE, METHODS_TEXT])
def test_a_missing_page_is_written_again(trial, settled, page):
    run_trial(trial.root)
    refresh_reports(trial.root)
    (trial.reports / page).unlink()
    assert not run_trial(trial.root).reports_current
    assert (trial.reports / page).is_file()


def test_pages_that_nobody_has_checked_are_written_again(trial, settled):
    run_trial(trial.root)
    refresh_reports(trial.root)
    index = trial.reports / INDEX_PAGE
    for spoil in ((trial.work / "checked.json").unlink, lambda: None):
        right = index.read_bytes()
        spoil()
        index.write_text("an earlier page")
        assert not run_trial(trial.root).reports_current
        assert index.read_bytes() == right
        refresh_reports(trial.root)
    assert run_trial(trial.root).reports_current


def test_the_methods_text_is_written_by_a_run_after_a_refresh_that_wrote_the_index_alone(trial, settled):
    run_trial(trial.root)
    refresh_reports(trial.root)
    methods = trial.reports / METHODS_TEXT
    right = methods.read_bytes()
    methods.write_text("of an earlier run")
    refresh_reports(trial.root)  # writes the index, because the state of the pages is another one
    assert not run_trial(trial.root).reports_current
    assert methods.read_bytes() == right


def test_other_inputs_of_a_lock_are_another_state(trial, settled):
    with Registry.open(trial, protocol_of(trial)) as registry:
        subject = registry.subject(CHANGED)
    now = checked.Checked(trial, protocol_of(trial))
    states = {now.state(subject, depends) for depends in ({}, {"wk00": {"rules": {"connectivity": 3}}})}
    assert len(states - {""}) == 2


def test_a_change_of_a_subject_renews_the_index(trial, settled, monkeypatch):
    monkeypatch.setattr(batch.LocalExecutor, "submit", lambda *_, **__: "none is analysed in this test")
    run_trial(trial.root)
    refresh_reports(trial.root)
    before = (trial.reports / INDEX_PAGE).read_text()
    with Registry.open(trial, protocol_of(trial)) as registry:
        registry.record_scan(
            CHANGED, "wk48", site=SITE, upload_digest="other", receipt="r2", replace_because="wrong patient"
        )
    refresh_reports(trial.root)
    after = (trial.reports / INDEX_PAGE).read_text()
    assert after != before
    with Registry.open(trial, protocol_of(trial)) as registry:
        registry.record_analyses(CHANGED, {"wk04": (ScanStatus.FAILED, "test")})
    run_trial(trial.root)
    assert (trial.reports / INDEX_PAGE).read_text() not in {before, after}


@pytest.mark.parametrize(("days", "again"), [(0, False), (30, False), (31, True), (-2, True)])
def test_a_check_is_repeated_after_a_month(trial, settled, looked_at, monkeypatch, days, again):
    run_trial(trial.root)
    looked_at.clear()
    later = time.time() + days * 86_400
    monkeypatch.setattr(checked, "SETTLED_S", -1e9)  # by that clock, files may be of the future
    monkeypatch.setattr(checked.time, "time", lambda: later)
    run_trial(trial.root)
    assert bool(looked_at) == again


def test_a_check_with_detection_rates_is_good_for_a_run_without(trial, settled):
    now = checked.Checked(trial, protocol_of(trial))
    now.set_current(CHANGED, "state", calibrate=True)
    now.set_current(OTHER, "state", calibrate=False)
    found = [now.current(code, "state", calibrate=wish) for code in CODES for wish in (False, True)]
    assert found == [True, True, True, False]
    assert not now.current(CHANGED, "", calibrate=False)


def test_an_interrupted_run_has_checked_subjects(trial, settled, looked_at, monkeypatch):
    plain = batch.is_current

    def interrupted(job):
        if job.subject == OTHER:
            raise KeyboardInterrupt
        return plain(job)

    monkeypatch.setattr(batch, "is_current", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial.root)
    assert list(looked_at) == [CHANGED]
    monkeypatch.setattr(batch, "is_current", plain)
    looked_at.clear()
    run_trial(trial.root)
    assert list(looked_at) == [OTHER]


def test_a_failed_subject_is_never_taken_as_unchanged(trial, settled, monkeypatch):
    run_trial(trial.root)

    def analyse(jobs, _execution, *, finished, **_):
        outcomes = [Outcome(subject=job.subject, done=False, reason="test") for job in jobs]
        for job, outcome in zip(jobs, outcomes, strict=True):
            finished(job, outcome)
        return BatchOutcome(tuple(outcomes))

    rewrite(trial.rawdata.image(CHANGED, "wk00", Contrast.FLAIR))
    monkeypatch.setattr("reading_centre.use_cases.analysis.run.run_batch", analyse)
    for _ in range(2):
        found = {one.subject: one for one in run_trial(trial.root).outcomes}
        assert (found[CHANGED].done, found[OTHER].unchanged) == (False, True)
