"""An accepted scan is withdrawn without a replacement: whole or not at all, audited, nothing deleted."""

import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from mri_pipeline.core.errors import ComplianceError, SettingsError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.registry import ReadCounts, Registry, ScanState
from mri_pipeline.registry.site_queries import QueryState
from reading_centre import cli
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.trial import staging
from reading_centre.use_cases.trial.audit_verify import verify_trial
from reading_centre.use_cases.uploads.quarantine import list_quarantine, release_upload
from reading_centre.use_cases.uploads.withdraw import withdraw_scan
from tests.unit import ingest_trial
from tests.unit.ingest_trial import SMALL, agree, confirmed_read, ingest, opened, upload
from tests.unit.kill_points import Guard

pytestmark = pytest.mark.usefixtures("no_image_checks")
SPAWN = multiprocessing.get_context("spawn")
WHY = {"reason": "another patient was sent", "by": "data manager"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A trial whose subject has week 0 (read) and a week 4 that came late."""
    folder = tmp_path_factory.mktemp("withdraw")
    trial = ingest_trial.new_trial(folder / "trial")
    code = ingest(trial, upload(folder / "first")).subject
    ingest(trial, upload(folder / "second", day=60), "wk04", before_infusion=None)
    confirmed_read(trial, code)
    return folder


@pytest.fixture
def trial(prepared, tmp_path):
    shutil.copytree(prepared / "trial", tmp_path / "trial")
    return Trial.existing(tmp_path / "trial")


def withdraw(trial, visit="wk00", **more):
    arguments = {"site": "S01", "subject": "0001", "visit": visit} | WHY
    return withdraw_scan(trial.root, **(arguments | more))


def code_of(trial):
    (code,) = {held.subject for held in agree(trial)}
    return code


def open_rules(trial):
    with opened(trial) as registry:
        return {(q.visit, q.question.rule) for q in registry.site_queries.all() if q.state is QueryState.OPEN}


def test_scan_and_reads_are_kept_and_the_visit_is_missing(trial):
    code = code_of(trial)
    scans = {path.name: path.read_bytes() for path in trial.rawdata.anat(code, "wk00").iterdir()}
    series = sorted(path.read_bytes() for path in trial.sourcedata.visit(code, "wk00").rglob("*.dcm"))
    done = withdraw(trial)
    assert (done.subject, done.visit, done.reads, done.remaining) == (code, "wk00", 1, 1)
    assert [(held.visit, held.readers) for held in agree(trial)] == [("wk04", ())]
    kept = trial.root / done.kept
    assert {path.name: path.read_bytes() for path in (kept / "anat").iterdir()} == scans
    assert series
    assert sorted(path.read_bytes() for path in (kept / "source").rglob("*.dcm")) == series
    assert (kept / "reads" / "read.json").read_text() == "{}"
    assert not (trial.rawdata.root / f"sub-{code}" / "ses-wk00").exists()
    with opened(trial) as registry:
        (row,) = registry.withdrawn()
        assert (row["reason"], row["replaced_by"], row["reads"][0]["accepted"]) == (WHY["reason"], None, 2)
        (entry,) = [e for e in registry.audit_trail() if e.action == "scan withdrawn"]
        assert entry.target == f"{code} wk00"
        assert WHY.items() <= entry.details.items()
        assert (entry.reader, entry.details["kept_in"]) == (WHY["by"], kept.name)
    deviations = [text for text in verify_trial(trial.root).deviations if "reader R1" in text]
    assert deviations  # the read of this fixture is an empty file: it is looked at where it is kept


def test_the_last_scan_of_a_subject_leaves_no_participant(trial):
    code = code_of(trial)
    withdraw(trial)
    withdraw(trial, "wk04")
    assert agree(trial) == []
    assert not (trial.rawdata.root / f"sub-{code}").exists()
    assert not trial.sourcedata.subject(code).exists()
    assert (trial.rawdata.root / "participants.tsv").read_text() == "participant_id\n"


def test_queries_that_compare_with_it_are_closed(trial):
    assert ("wk04", "window") in open_rules(trial)
    of_others = {(visit, rule) for visit, rule in open_rules(trial) if visit == "wk04" and rule != "window"}
    assert of_others
    withdraw(trial)
    assert open_rules(trial) == of_others


def release(trial, subject):
    (entry,) = list_quarantine(trial.root)
    return release_upload(
        trial.root,
        entry.name,
        reason="it is the scan of this subject",
        by="DM",
        subject=subject,
        before_infusion=True,
    )


def test_the_images_come_again_under_their_true_subject_by_a_decision_of_the_centre(trial, prepared):
    withdraw(trial)
    code = withdrawn_code(trial)
    with pytest.raises(ComplianceError, match=r"of a withdrawn scan of another subject$") as caught:
        ingest(trial, prepared / "first", subject="0002")
    assert "mri-pipeline quarantine release" in caught.value.hint
    assert code not in str(caught.value)
    with opened(trial) as registry:
        (entry,) = registry.audit_entries("upload matches another subject")
    assert f"{code} wk00" in entry.details["scans"]
    sent = release(trial, "0002")
    assert sent.subject != code
    asked = "of a withdrawn scan of another subject (accepted by the reading centre)"
    assert [query for query in sent.queries if query.endswith(asked)]
    assert (sent.subject, "withdrawn") in {(q.subject, q.question.rule) for q in queries(trial)}
    assert ingest(trial, upload(prepared / "right", seed=3)).visit == "wk00"
    assert len(agree(trial)) == 3


def test_withdrawn_images_do_not_come_back_without_a_word(trial, prepared):
    withdraw(trial)
    for attempt in ({"dry_run": True}, {}, {"replace_because": "sent again"}):
        with pytest.raises(ComplianceError, match="expected images that were not withdrawn, found") as caught:
            ingest(trial, prepared / "first", **attempt)
        assert caught.value.message.endswith(
            "of a withdrawn scan of this visit (reason: another patient was sent)"
        )
    with pytest.raises(ComplianceError, match=r"withdrawn scan of visit wk00 \(reason: another"):
        ingest(trial, upload(prepared / "one_image", specs=SMALL[:1]), "wk12")
    assert [held.visit for held in agree(trial)] == ["wk04"]


def test_a_replaced_scan_that_comes_back_is_a_query(trial, prepared):
    ingest(trial, upload(prepared / "other", seed=5), replace_because="wrong images")
    back = ingest(trial, prepared / "first", replace_because="the first one was right")
    found = "of a withdrawn scan of this visit (reason: wrong images)"
    assert [query for query in back.queries if query.endswith(found)]
    more = ingest(trial, upload(prepared / "more", specs=SMALL[:3]), replace_because="without the fourth")
    assert not [query for query in more.queries if "withdrawn" in query]  # the visit has these images now
    assert len(agree(trial)) == 2


def test_a_decision_does_not_overrule_a_later_withdrawal(trial, prepared, monkeypatch):
    withdraw(trial)
    with pytest.raises(ComplianceError):
        ingest(trial, prepared / "first")
    release(trial, "0001")
    monkeypatch.setattr("mri_pipeline.registry.scans.utc_now", lambda: "2099-01-01T00:00:00+00:00")
    withdraw(trial, reason="consent withdrawn")
    with pytest.raises(ComplianceError, match=r"withdrawn scan of this visit \(reason: consent withdrawn\)"):
        ingest(trial, prepared / "first")


def test_the_other_visits_are_to_be_analysed_again(trial):
    """Their lesions were found together with the scan that is gone."""
    code = code_of(trial)
    with opened(trial) as registry:
        registry.record_analyses(code, {"wk04": (ScanStatus.ANALYSED, "")})
        registry.record_reads(
            {(code, "wk04"): ReadCounts(digest="cd" * 32)}, reader="R1", status=ReadStatus.CONFIRMED
        )
    withdraw(trial)
    with opened(trial) as registry:
        (state,) = [visit for visit in registry.subject(code).visits if visit.visit == "wk04"]
        assert (state.scan, state.read) == (ScanState.RECEIVED, ReadStatus.CONFIRMED)
        with pytest.raises(UsageError, match="wk04: expected an analysed scan"):
            registry.lock_reads([(code, "wk04")], reader="R1")
        with pytest.raises(UsageError, match="wk04: expected an analysed scan"):
            registry.record_reads(
                {(code, "wk04"): ReadCounts(digest="ef" * 32)}, reader="R1", status=ReadStatus.CONFIRMED
            )
        assert registry.differences_from_audit() == []
    with pytest.raises(UsageError, match="expected confirmed reads of this reader, found none"):
        lock_reads(trial.root, reader="R1")


def test_results_of_the_last_scan_are_kept_with_it(trial):
    code = code_of(trial)
    results, report = trial.derivatives.folder(code), trial.reports / f"sub-{code}.html"
    (results / "anat").mkdir(parents=True)
    (results / "anat" / "mask.nii.gz").write_bytes(b"mask")
    report.write_text("numbers")
    withdraw(trial)
    assert report.exists()  # another visit has results
    kept = trial.root / withdraw(trial, "wk04").kept
    assert not results.exists()
    assert not report.exists()
    assert (kept / "derivatives" / "anat" / "mask.nii.gz").read_bytes() == b"mask"
    assert (kept / "report.html").read_text() == "numbers"


def withdrawn_code(trial):
    with opened(trial) as registry:
        return registry.withdrawn()[0]["subject"]


def queries(trial):
    with opened(trial) as registry:
        return registry.site_queries.all()


@pytest.mark.parametrize(
    ("more", "error", "match"),
    [
        ({"visit": "wk12"}, UsageError, "expected an accepted scan, found none"),
        ({"subject": "0002"}, UsageError, "site S01: no accepted scan of this subject"),
        ({"site": "S09"}, SettingsError, "expected a site of trial.toml .S01, S02., found 'S09'"),
        ({"reason": " "}, UsageError, "expected a text as reason, found none"),
        ({"by": ""}, UsageError, "expected a text as by, found none"),
    ],
)
def test_what_cannot_be_withdrawn_changes_nothing(trial, more, error, match):
    before = agree(trial)
    with pytest.raises(error, match=match):
        withdraw(trial, **more)
    assert agree(trial) == before
    assert not list(trial.staging.glob("*_*"))


def test_a_locked_visit_is_kept(trial):
    with opened(trial) as registry:
        registry.lock_reads({(code_of(trial), "wk00"): "ab" * 32}, reader="R1")
    with pytest.raises(UsageError, match="expected an open read, found a locked one"):
        withdraw(trial)
    assert len(agree(trial)) == 2


MOMENTS = ("registry", "move series", "move reads", "move scan", "participants", "remove stage")


def _killed_at(step, root):
    guarded = Guard(step)
    Registry.record_withdrawal = guarded(Registry.record_withdrawal)
    staging.list_participants = guarded(staging.list_participants)
    staging.shutil.rmtree = guarded(shutil.rmtree)

    def rename(self, target, plain=Path.rename):
        return (guarded(plain) if "withdrawn" in Path(target).parts else plain)(self, target)

    Path.rename = rename
    withdraw(Trial(root))


@pytest.mark.parametrize("moment", [*MOMENTS, "none"])
def test_a_killed_withdrawal_is_whole_or_has_not_happened(trial, moment):
    before = agree(trial)
    step = (*MOMENTS, "none").index(moment)
    process = SPAWN.Process(target=_killed_at, args=(step, trial.root))
    process.start()
    process.join()
    assert process.exitcode == (0 if moment == "none" else -signal.SIGKILL)
    with opened(trial) as registry:
        staging.settle_all(trial, registry._protocol, registry)
    assert not list(trial.staging.glob("*_*"))
    if moment == "registry":
        assert agree(trial) == before
        assert (trial.reads / before[0].subject / "wk00" / "read.json").exists()
        return
    assert [held.visit for held in agree(trial)] == ["wk04"]
    (kept,) = (trial.withdrawn / before[0].subject / "wk00").iterdir()
    assert len(list((kept / "anat").glob("*.nii.gz"))) == 4
    assert (kept / "reads" / "read.json").exists()


def test_a_scan_that_is_withdrawn_during_a_run_gets_no_status(trial):
    code = code_of(trial)
    with opened(trial) as registry:
        key = {visit.visit: visit.scan_key for visit in registry.subject(code).visits}["wk00"]
        withdraw(trial)
        registry.record_analyses(code, {"wk00": (ScanStatus.ANALYSED, "")}, scan_keys={"wk00": key})
        assert registry.differences_from_audit() == []
    assert [held.visit for held in agree(trial)] == ["wk04"]


def test_the_command_names_neither_number_nor_patient(trial, capsys):
    options = ["--site", "S01", "--subject", "0001", "--visit", "wk00", "--reason", "consent withdrawn"]
    command = ["quarantine", "withdraw", str(trial.root), *options]
    assert cli.invoke(command) == 2  # without --by
    code = code_of(trial)
    capsys.readouterr()
    assert cli.invoke([*command, "--by", "DM"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{code} wk00: scan and 1 reads withdrawn; kept in withdrawn/{code}/wk00/")
    assert f"mri-pipeline run TRIAL --subject {code}" in said
    assert "0001" not in said
    assert cli.invoke([*command[:7], "--visit", "wk04", *command[9:], "--by", "DM", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remaining"] == 0


def test_scans_that_were_analysed_together_get_their_status_together(trial):
    code = code_of(trial)
    both = dict.fromkeys(("wk00", "wk04"), (ScanStatus.ANALYSED, ""))

    def states():
        with opened(trial) as registry:
            assert registry.differences_from_audit() == []
            return [visit.scan for visit in registry.subject(code).visits[:2]]

    with opened(trial) as registry:
        keys = {visit.visit: visit.scan_key for visit in registry.subject(code).visits if visit.visit in both}
        before = states()
        with pytest.raises(UsageError, match="wk12"):
            registry.record_analyses(code, both | {"wk12": (ScanStatus.ANALYSED, "")}, scan_keys=keys)
        assert states() == before
        registry.record_analyses(code, both, scan_keys=keys)
    assert states() == [ScanState.ANALYSED, ScanState.ANALYSED]
    withdraw(trial, "wk04")
    with opened(trial) as registry:
        registry.record_analyses(code, {"wk00": both["wk00"]}, scan_keys=keys)  # analysed with a scan that is gone
        assert states() == [ScanState.RECEIVED, ScanState.MISSING]
        registry.record_analyses(code, {"wk00": both["wk00"]}, scan_keys={"wk00": keys["wk00"]})
    assert states() == [ScanState.ANALYSED, ScanState.MISSING]
