"""Refused uploads: listed, tried again after a change of settings, or accepted by a decision with a reason."""

import datetime as dt
import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mri_pipeline.core.errors import (
    ComplianceError,
    GateClosedError,
    IdentityError,
    UnsafeUploadError,
    UploadRefusedError,
    UsageError,
)
from mri_pipeline.core.io.locks import exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake import quarantine as quarantine_module
from mri_pipeline.intake import quarantined
from mri_pipeline.intake.quarantine import quarantine
from mri_pipeline.intake.quarantined import quarantine_entries, quarantine_entry
from mri_pipeline.registry import Gate, Registry
from mri_pipeline.registry.acceptances import RefusedUpload
from mri_pipeline.registry.releases import Releases
from qc import decision
from qc.findings import Finding
from reading_centre import cli
from reading_centre.use_cases import serve
from reading_centre.use_cases.trial.init import init_trial
from reading_centre.use_cases.uploads import quarantine as quarantine_use_case
from reading_centre.use_cases.uploads import task as upload_task
from reading_centre.use_cases.uploads.dummy_run.receive import decide_dummy_run, receive_dummy_run
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from reading_centre.use_cases.uploads.quarantine import (
    discard_upload,
    list_quarantine,
    release_upload,
    retry_upload,
)
from tests.unit import dicom_factory as factory
from tests.unit import ingest_trial

pytestmark = pytest.mark.usefixtures("no_image_checks")

SMALL = tuple(replace(spec, shape=(16, 12, 12), spacing=12.0, thickness=12.0) for spec in factory.VISIT)
THICKNESS = "max_slice_thickness_2d_mm = { value = 3.0, action = "
NUMBER = "0007"


@pytest.fixture
def trial(tmp_path):
    init_trial(tmp_path / "trial")
    trial = Trial.existing(tmp_path / "trial")
    with opened(trial) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="d0")
    return trial


def opened(trial):
    return Registry.open(trial, load_protocol(trial.protocol_file))


def thickness_is(trial, action, before):
    text = trial.protocol_file.read_text()
    assert f'{THICKNESS}"{before}"' in text
    trial.protocol_file.write_text(text.replace(f'{THICKNESS}"{before}"', f'{THICKNESS}"{action}"'))


def send(trial, folder, specs=SMALL, visit="wk04", **patient):
    upload = factory.write_visit(folder, specs, replace(factory.Patient(), **patient))
    return receive_visit(trial.root, upload, site="S01", subject=NUMBER, visit=visit)


def refused(trial, folder, error, match, specs=SMALL, **patient):
    """Send an upload that is refused; the name of its entry in quarantine."""
    with pytest.raises(error, match=match):
        send(trial, folder, specs, **patient)
    return list_quarantine(trial.root)[-1].name


def actions(trial):
    with opened(trial) as registry:
        registry.verify_audit()
        assert registry.differences_from_audit() == []
        return [(e.action, dict(e.details)) for e in registry.audit_trail()]


def identified(trial):
    """Copies of uploads in quarantine."""
    return [path for name in ("upload*", "removed-*") for path in trial.quarantine.glob(f"*/{name}")]


def test_an_upload_is_tried_again_after_a_change_of_settings(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm, found 12 mm")
    with pytest.raises(ComplianceError, match="at most 3 mm, found 12 mm"):
        retry_upload(trial.root, name, subject=NUMBER)
    (again,) = list_quarantine(trial.root)
    first, _ = list_quarantine(trial.root, settled=True)
    assert (first.outcome, first.upload) == (f"refused again: {again.name}", None)
    thickness_is(trial, "query", "refuse")
    result = retry_upload(trial.root, again.name, subject=NUMBER)
    assert (result.visit, "FLAIR" in result.contrasts) == ("wk04", True)
    assert list_quarantine(trial.root) == []
    assert identified(trial) == []
    assert [a for a, _ in actions(trial) if a in ("upload refused", "upload tried again", "scan received")] == [
        "upload refused", "upload tried again", "upload refused", "upload tried again", "scan received",
    ]  # fmt: skip
    with opened(trial) as registry:
        asked = {(q.question.rule, q.question.measured, q.question.limit) for q in registry.site_queries.all()}
    assert ("thickness_2d", 12.0, 3.0) in asked


def test_a_limit_is_overruled_with_a_reason(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    for empty in ({"reason": "", "by": "QC"}, {"reason": "old scanner", "by": " "}):
        with pytest.raises(UsageError, match="expected a text as"):
            release_upload(trial.root, name, subject=NUMBER, **empty)
    result = release_upload(trial.root, name, reason="old scanner", by="QC", subject=NUMBER)
    assert any(query.endswith("found 12 mm (accepted by the reading centre)") for query in result.queries)
    (released,) = [details for action, details in actions(trial) if action == "upload released"]
    assert (released["reason"], released["by"], released["protocol"], released["cleared"]) == (
        "old scanner", "QC", True, [],
    )  # fmt: skip
    # another upload is not
    refused(trial, tmp_path / "other", ComplianceError, "at most 3 mm", visit="wk12", study_uid="1.2.3")


@pytest.mark.parametrize(
    ("specs", "match"),
    [
        ([replace(s, field_t=1.0) for s in SMALL], "at least 1.5 T, found 1 T"),
        (SMALL[1:], "expected FLAIR, found"),
    ],
)
@pytest.mark.requirement("INTAKE-01")
def test_field_strength_and_a_missing_flair_are_never_overruled(trial, tmp_path, specs, match):
    name = refused(trial, tmp_path / "up", ComplianceError, match, specs)
    with pytest.raises(ComplianceError, match=match):
        release_upload(trial.root, name, reason="please", by="QC", subject=NUMBER)
    assert not trial.rawdata.root.is_dir() or trial.rawdata.subjects() == []


def test_safety_is_never_overruled(trial, tmp_path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "inner.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    name = refused(trial, tmp_path / "up", UnsafeUploadError, "archive inside the upload")
    with pytest.raises(
        UsageError, match="expected a visit refused for a limit of the protocol, found a visit refused"
    ):
        release_upload(trial.root, name, reason="please", by="QC", subject=NUMBER)
    assert not [action for action, _ in actions(trial) if action == "upload released"]


def test_an_identity_alarm_is_cleared_by_tag_with_a_reason(trial, tmp_path, capsys):
    specs = [replace(s, extra={"SoftwareVersions": "B17 Fortuna"}) for s in SMALL]
    alarm = r"expected no identity after de-identification, found 1 in SoftwareVersions \(0018,1020\)"
    name = refused(trial, tmp_path / "up", IdentityError, alarm, specs, name="Fortuna^Eva")
    with pytest.raises(UsageError, match="expected --clear-identity TAG for an identity alarm"):
        release_upload(trial.root, name, reason="a name of the software", by="QC", subject=NUMBER)
    for tag, found in (
        ("0010,0010", "PatientName"),
        ("0018,0022", "ScanOptions"),
        ("PatientName", "PatientName"),
        ("nonsense", "no DICOM tag"),
        ("zzzz,zzzz", "no DICOM tag"),
        ("99:0018,1020", "series 99 with SoftwareVersions"),
    ):
        with pytest.raises(
            UsageError, match=f"expected a tag that the reason of the refusal names, found {found}$"
        ):
            release_upload(trial.root, name, reason="x", by="QC", subject=NUMBER, clear_identity=[tag])
    arguments = ["--subject", NUMBER, "--reason", "a name of the software", "--by", "QC"]
    assert cli.invoke(
        ["quarantine", "release", str(trial.root), name, "--clear-identity", "0018,1020", *arguments]
    ) == 0  # fmt: skip
    assert "wk04: accepted" in capsys.readouterr().out
    (released,) = [details for action, details in actions(trial) if action == "upload released"]
    numbers = sorted(spec.number for spec in specs)
    assert (released["protocol"], released["cleared"]) == (False, [f"{n}/SoftwareVersions" for n in numbers])
    assert identified(trial) == []


def test_a_retry_is_for_the_subject_of_the_upload(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    thickness_is(trial, "query", "refuse")
    with pytest.raises(UsageError, match="expected the subject of the refused upload, found another one"):
        retry_upload(trial.root, name, subject="0008")
    for wrong in ({}, {"subject": NUMBER, "visit": "wk12"}):
        with pytest.raises(UsageError, match="expected the subject and the visit of the refused upload"):
            retry_upload(trial.root, name, **wrong)
    retry_upload(trial.root, name, subject=NUMBER)
    for wrong in ({"subject": "0008"}, {"subject": NUMBER, "stated": {Contrast.FLAIR: 1}}, {}):
        with pytest.raises(UsageError, match=r"this entry is settled already \(accepted\)"):
            retry_upload(trial.root, name, **wrong)


def killed_at(patch, moment):
    """End the process before an outcome is recorded, after it, or when a part of the copy is removed."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    def removed_in_part(folder):
        for path in sorted(folder.iterdir())[:5]:
            path.unlink()
        raise KeyboardInterrupt

    if moment == "before the outcome":
        patch.setattr(upload_task, "settle_entry", killed)
        patch.setattr(quarantine_use_case, "settle_entry", killed)
    elif moment == "after the outcome":
        patch.setattr(quarantined, "_remove_copies", killed)
    else:
        patch.setattr(quarantined, "shutil", SimpleNamespace(rmtree=removed_in_part))


AFTER = ("after the outcome", "in the removal")


@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize("moment", ["before the outcome", *AFTER])
def test_a_retry_that_was_killed_after_the_acceptance_leaves_no_copy(
    trial, tmp_path, monkeypatch, capsys, moment, release
):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    if not release:
        thickness_is(trial, "query", "refuse")
    decision_of = {"reason": "old scanner", "by": "QC"} if release else {}
    again = release_upload if release else retry_upload
    with monkeypatch.context() as patch:
        killed_at(patch, moment)
        with pytest.raises(KeyboardInterrupt):
            again(trial.root, name, subject=NUMBER, **decision_of)
    assert len(identified(trial)) == 1
    options = ["--reason", "old scanner", "--by", "QC"] if release else []
    command = ["quarantine", "release" if release else "retry", str(trial.root), name, "--subject", NUMBER]
    code = cli.invoke([*command, *options])
    if moment in AFTER:  # a settled entry stays so
        assert code == 2
        assert "this entry is settled already (accepted)" in capsys.readouterr().err
    else:
        assert code == 0
        assert "wk04: stored already" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"this entry is settled already \("):
        retry_upload(trial.root, name, subject=NUMBER)
    (entry,) = list_quarantine(trial.root, settled=True)
    assert entry.outcome == "accepted"
    assert identified(trial) == []


@pytest.mark.parametrize("moment", AFTER)
def test_the_next_upload_removes_the_copies_of_settled_entries(trial, tmp_path, monkeypatch, moment):
    thickness_is(trial, "refuse", "query")
    refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    with monkeypatch.context() as patch:
        killed_at(patch, moment)
        with pytest.raises(KeyboardInterrupt):  # refused again, and killed then
            retry_upload(trial.root, name, subject=NUMBER)
    assert len(identified(trial)) == 3
    refused(trial, tmp_path / "other", ComplianceError, "expected FLAIR", SMALL[1:])
    first, again, _ = list_quarantine(trial.root)
    assert quarantine_entry(trial.quarantine, name).outcome == f"refused again: {again.name}"
    assert len(identified(trial)) == 3  # the copies of the entries that wait
    thickness_is(trial, "query", "refuse")
    with monkeypatch.context() as patch:  # accepted as another visit, and killed then
        killed_at(patch, moment)
        with pytest.raises(KeyboardInterrupt):
            send(trial, tmp_path / "up2", visit="wk12")
    with pytest.raises(UsageError, match="accepted as wk12"):
        retry_upload(trial.root, first.name, subject=NUMBER)
    assert [path.parent.name for path in identified(trial)] == [list_quarantine(trial.root)[0].name]


@pytest.mark.parametrize("moment", AFTER)
def test_a_dummy_run_that_a_person_accepted_leaves_no_copy(trial, tmp_path, monkeypatch, moment):
    limits = [Finding("snr", Action.REFUSE, "expected 30, found 20", Contrast.FLAIR)]
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: limits)
    with pytest.raises(ComplianceError, match="expected 30, found 20"):
        receive_dummy_run(trial.root, factory.write_visit(tmp_path / "up", SMALL), site="S02")
    with monkeypatch.context() as patch:
        killed_at(patch, moment)
        with pytest.raises(KeyboardInterrupt):
            decide_dummy_run(trial.root, site="S02", accept=True, reason="phantom", by="QC")
    assert len(identified(trial)) == 1
    send(trial, tmp_path / "next")
    assert identified(trial) == list_quarantine(trial.root) == []


DISCARDED = "refused upload discarded"


def test_an_entry_is_discarded_with_a_reason(trial, tmp_path, capsys):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    other = refused(trial, tmp_path / "other", ComplianceError, "expected FLAIR", SMALL[1:])
    before = actions(trial)
    for wrong, match in (
        ({"reason": " ", "by": "QC"}, "expected a text as reason, found none"),
        ({"reason": "twice", "by": ""}, "expected a text as by, found none"),
    ):
        with pytest.raises(UsageError, match=match):
            discard_upload(trial.root, name, **wrong)
    with pytest.raises(UsageError, match="expected the name of an entry of the quarantine"):
        discard_upload(trial.root, "../trial", reason="twice", by="QC")
    assert actions(trial) == before
    assert len(identified(trial)) == 2
    command = ["quarantine", "discard", str(trial.root), name, "--reason", "sent twice", "--by", "QC"]
    assert cli.invoke(command) == 0
    assert f"{name}: discarded\n" in capsys.readouterr().out
    digest = quarantine_entry(trial.quarantine, name).sha256
    details = {"upload": digest, "entry": name, "reason": "sent twice", "by": "QC"}
    assert actions(trial) == [*before, (DISCARDED, details)]
    assert [path.parent.name for path in identified(trial)] == [other]
    assert [entry.name for entry in list_quarantine(trial.root)] == [other]
    assert quarantine_entry(trial.quarantine, name).outcome == "discarded"
    assert cli.invoke(command) == 2
    assert cli.invoke(["quarantine", "retry", str(trial.root), name, "--subject", NUMBER]) == 2
    assert capsys.readouterr().err.count("this entry is settled already (discarded)") == 2
    thickness_is(trial, "query", "refuse")  # the site may send it again
    assert send(trial, tmp_path / "again").visit == "wk04"
    assert quarantine_entry(trial.quarantine, name).outcome == "discarded"


@pytest.mark.parametrize("moment", ["before the audit entry", "before the outcome", *AFTER])
@pytest.mark.parametrize("later", ["discard", "retry", "release", "ingest"])
def test_a_discard_that_was_killed_is_completed_or_has_changed_nothing(
    trial, tmp_path, monkeypatch, moment, later
):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    with monkeypatch.context() as patch:
        if moment == "before the audit entry":
            patch.setattr(Releases, "discard", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            killed_at(patch, moment)
        with pytest.raises(KeyboardInterrupt):
            discard_upload(trial.root, name, reason="sent twice", by="QC")
    audited = moment != "before the audit entry"
    assert [action for action, _ in actions(trial)].count(DISCARDED) == audited
    assert len(identified(trial)) == 1
    if later == "ingest":
        refused(trial, tmp_path / "other", ComplianceError, "expected FLAIR", SMALL[1:])
    elif audited:
        again = {
            "discard": lambda: discard_upload(trial.root, name, reason="again", by="QC"),
            "retry": lambda: retry_upload(trial.root, name, subject=NUMBER),
            "release": lambda: release_upload(trial.root, name, reason="again", by="QC", subject=NUMBER),
        }[later]
        with pytest.raises(UsageError, match=r"this entry is settled already \(discarded\)"):
            again()
    else:
        discard_upload(trial.root, name, reason="again", by="QC")
    assert [
        path for path in identified(trial) if path.parent.name == name and (audited or later != "ingest")
    ] == []
    assert [action for action, _ in actions(trial)].count(DISCARDED) == (audited or later != "ingest")
    assert [action for action, _ in actions(trial)].count("upload released") == 0


def test_an_entry_that_is_tried_again_is_not_discarded(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    before = actions(trial)
    with (
        quarantined.only_user(trial.quarantine, quarantine_entry(trial.quarantine, name).sha256),
        pytest.raises(UsageError, match="a retry of this upload is in progress"),
    ):
        discard_upload(trial.root, name, reason="sent twice", by="QC")
    assert actions(trial) == before
    assert len(identified(trial)) == 1


def test_one_of_two_entries_of_an_upload_is_discarded(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    names = [refused(trial, tmp_path / up, ComplianceError, "at most 3 mm") for up in ("up", "up2")]
    assert len({quarantine_entry(trial.quarantine, name).sha256 for name in names}) == 1
    discard_upload(trial.root, names[0], reason="sent twice", by="QC")
    assert [path.parent.name for path in identified(trial)] == names[1:]
    thickness_is(trial, "query", "refuse")
    assert retry_upload(trial.root, names[1], subject=NUMBER).visit == "wk04"
    assert [quarantine_entry(trial.quarantine, name).outcome for name in names] == ["discarded", "accepted"]


def killed_before_the_outcome(monkeypatch, act):
    with monkeypatch.context() as patch:
        killed_at(patch, "before the outcome")
        with pytest.raises(KeyboardInterrupt):
            act()


def refused_dummy_run(trial, folder, monkeypatch):
    limits = [Finding("snr", Action.REFUSE, "expected 30, found 20", Contrast.FLAIR)]
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: limits)
    with pytest.raises(ComplianceError, match="expected 30, found 20"):
        receive_dummy_run(trial.root, factory.write_visit(folder, SMALL), site="S02")
    return list_quarantine(trial.root)[-1].name


def discard_is_refused(trial, name, capsys, outcome="accepted"):
    """It prints the outcome that it found and enters nothing; the copy is deleted."""
    before = [action for action, _ in actions(trial)].count(DISCARDED)
    assert cli.invoke(["quarantine", "discard", str(trial.root), name, "--reason", "twice", "--by", "QC"]) == 2
    assert f"{name}: this entry is settled already ({outcome})" in capsys.readouterr().err
    assert [action for action, _ in actions(trial)].count(DISCARDED) == before
    assert quarantine_entry(trial.quarantine, name).outcome == outcome
    assert [path for path in identified(trial) if path.parent.name == name] == []


@pytest.mark.parametrize("visit", ["wk04", "wk12"])
def test_an_upload_that_a_killed_process_has_accepted_is_not_discarded(
    trial, tmp_path, monkeypatch, capsys, visit
):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    thickness_is(trial, "query", "refuse")
    if visit == "wk04":
        killed_before_the_outcome(monkeypatch, lambda: retry_upload(trial.root, name, subject=NUMBER))
    else:
        killed_before_the_outcome(monkeypatch, lambda: send(trial, tmp_path / "up2", visit=visit))
    assert len(identified(trial)) == 1
    discard_is_refused(trial, name, capsys, "accepted" if visit == "wk04" else "accepted as wk12")


@pytest.mark.parametrize("by", ["a person", "the limits"])
@pytest.mark.parametrize("persons", [0, 1])
def test_a_dummy_run_that_a_killed_process_has_accepted_is_not_discarded(
    trial, tmp_path, monkeypatch, capsys, by, persons
):
    if persons:
        text = trial.protocol_file.read_text()
        assert "persons = 0" in text
        trial.protocol_file.write_text(text.replace("persons = 0", f"persons = {persons}"))
    name = refused_dummy_run(trial, tmp_path / "up", monkeypatch)

    def decided():
        decide_dummy_run(trial.root, site="S02", accept=True, reason="phantom", by="QC")

    if by == "a person":
        killed_before_the_outcome(monkeypatch, decided)
    else:
        monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: [])
        if persons:  # the limits accept it, and nobody has decided
            retry_upload(trial.root, name)
            assert discard_upload(trial.root, name, reason="moved", by="QC").outcome == "discarded"
            return
        killed_before_the_outcome(monkeypatch, lambda: retry_upload(trial.root, name))
    discard_is_refused(trial, name, capsys)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("moment", ["before the check", "after the check"])
def test_an_upload_that_is_accepted_during_a_discard_is_not_discarded(
    trial, tmp_path, monkeypatch, capsys, killed, moment
):
    """The ingest of the site does not take the lock of the entry. It may be killed before it records the outcome."""
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    thickness_is(trial, "query", "refuse")
    place, attribute = (Releases, "discard") if moment == "after the check" else (quarantine_use_case, "_waiting")
    real, sent = getattr(place, attribute), []

    def accepted_first(*args, **more):
        if not sent:
            sent.append(name)
            with monkeypatch.context() as patch:
                if killed or moment == "after the check":  # it would wait for the discard
                    patch.setattr(upload_task, "settle_upload", lambda *_, **__: None)
                send(trial, tmp_path / "up2")
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(place, attribute, accepted_first)
        discard_is_refused(trial, name, capsys)
    assert sent == [name]


def test_an_upload_that_was_accepted_before_it_was_refused_is_discarded(trial, tmp_path):
    """The same scan, sent once more for another visit, within the second of its acceptance or later."""
    send(trial, tmp_path / "up")
    name = refused(trial, tmp_path / "up2", ComplianceError, "expected", visit="wk12")
    entry = quarantine_entry(trial.quarantine, name)
    assert [one.name for one in list_quarantine(trial.root)] == [name]
    with opened(trial) as registry:
        assert registry.upload(registry.state().subjects[0].code, "wk04") == entry.sha256
    assert discard_upload(trial.root, name, reason="sent twice", by="QC").outcome == "discarded"


@pytest.mark.parametrize("scanner", [False, True])
def test_a_refused_dummy_run_at_an_accepted_site_is_discarded(trial, tmp_path, monkeypatch, scanner):
    with opened(trial) as registry:
        registry.record_dummy_run("S02", accepted=True, upload_digest="d0")
    if not scanner:
        monkeypatch.setattr(upload_task.UploadTask, "by_scanner", lambda *_: {"scanner": None, "measures": {}})
    name = refused_dummy_run(trial, tmp_path / "up", monkeypatch)
    with closing(sqlite3.connect(trial.registry_file)) as raw:
        site = raw.execute("SELECT gate, dummy_run_digest FROM sites WHERE code = 'S02'").fetchone()
    assert site == ("accepted" if scanner else "refused", quarantine_entry(trial.quarantine, name).sha256)
    assert discard_upload(trial.root, name, reason="sent twice", by="QC").outcome == "discarded"


def test_the_second_outcome_of_an_entry_is_not_recorded(trial, tmp_path, monkeypatch):
    """Two processes record two outcomes at once: each waits for the other."""
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    entry, seen = quarantine_entry(trial.quarantine, name), []
    write = quarantined.write_atomic
    with ThreadPoolExecutor(2) as pool, opened(trial) as registry, monkeypatch.context() as patch:

        def slow(*args):
            if not seen:
                seen.append(pool.submit(upload_task.settle_upload, trial, registry, entry.sha256, kind="visit"))
                time.sleep(0.3)
            write(*args)

        patch.setattr(quarantined, "write_atomic", slow)
        assert discard_upload(trial.root, name, reason="sent twice", by="QC").outcome == "discarded"
        seen[0].result()
    assert quarantine_entry(trial.quarantine, name).outcome == "discarded"


def test_a_release_does_not_outlive_a_discard(trial, tmp_path, monkeypatch):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")

    def full(*_, **__):
        raise UsageError("expected room on the disk, found none")

    with monkeypatch.context() as patch:
        patch.setattr(quarantine_use_case, "receive_visit", full)
        with pytest.raises(UsageError, match="expected room on the disk"):
            release_upload(trial.root, name, reason="old scanner", by="QC", subject=NUMBER)
    discard_upload(trial.root, name, reason="scan of another trial", by="DM")
    again = refused(trial, tmp_path / "up2", ComplianceError, "at most 3 mm")
    assert quarantine_entry(trial.quarantine, again).sha256 == quarantine_entry(trial.quarantine, name).sha256
    result = release_upload(trial.root, again, reason="agreed", by="QC", subject=NUMBER)  # a later one counts
    assert any(query.endswith("(accepted by the reading centre)") for query in result.queries)
    with opened(trial) as registry:
        release = registry.releases.of(quarantine_entry(trial.quarantine, name).sha256)
    assert (release.protocol, release.reason) == (True, "agreed")


def test_the_releases_of_another_upload_count_after_a_discard(trial, tmp_path):
    with opened(trial) as registry:
        for digest in ("a" * 64, "b" * 64):
            registry.releases.enter(digest, site="S01", reason=digest[0], by="QC", protocol=True)
        upload = RefusedUpload("S01", "a" * 64, dummy_run=False, refused="2024-01-01T00:00:00+00:00")
        assert registry.releases.discard("E1", upload, site="S01", reason="r", by="QC")
        assert [registry.releases.of(digest * 64).protocol for digest in "ab"] == [False, True]


def test_nobody_discards_an_upload_during_its_release(trial, tmp_path, monkeypatch):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    require, said = quarantine_use_case._require_subject, []

    def between(*args, **more):
        if not said:
            with pytest.raises(UsageError, match="a retry of this upload is in progress") as caught:
                discard_upload(trial.root, name, reason="sent by mistake", by="DM")
            said.append(caught)
        return require(*args, **more)

    monkeypatch.setattr(quarantine_use_case, "_require_subject", between)
    assert release_upload(trial.root, name, reason="old scanner", by="QC", subject=NUMBER).visit == "wk04"
    assert len(said) == 1
    assert DISCARDED not in [action for action, _ in actions(trial)]


def test_a_discard_before_the_lock_of_a_release_is_seen(trial, tmp_path, monkeypatch):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    lock, done = quarantine_use_case.only_user, []

    def later(folder, digest):
        if not done:
            done.append(name)
            discard_upload(trial.root, name, reason="sent by mistake", by="DM")
        return lock(folder, digest)

    monkeypatch.setattr(quarantine_use_case, "only_user", later)
    with pytest.raises(UsageError, match=r"this entry is settled already \(discarded\)"):
        release_upload(trial.root, name, reason="old scanner", by="QC", subject=NUMBER)
    assert "upload released" not in [action for action, _ in actions(trial)]


@pytest.mark.parametrize("outcome", ["discarded", "accepted"])
def test_an_outcome_that_was_not_recorded_is_shown_and_completed_by_the_server(
    trial, tmp_path, monkeypatch, capsys, outcome
):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    other = refused(trial, tmp_path / "other", ComplianceError, "expected FLAIR", SMALL[1:])
    thickness_is(trial, "query", "refuse")
    killed_before_the_outcome(monkeypatch, {
        "discarded": lambda: discard_upload(trial.root, name, reason="consent withdrawn", by="QC"),
        "accepted": lambda: retry_upload(trial.root, name, subject=NUMBER),
    }[outcome])  # fmt: skip
    assert quarantine_entry(trial.quarantine, name).outcome == ""
    assert run_json(capsys, "show", trial.root, name)["outcome"] == outcome
    assert [entry["name"] for entry in run_json(capsys, "list", trial.root)] == [other]
    assert [entry["outcome"] for entry in run_json(capsys, "list", trial.root, "--all")] == [outcome, ""]
    assert len(identified(trial)) == 2
    ended = threading.Event()
    monkeypatch.setattr(serve, "lanes_with_work", lambda *_: ended.set() or ())
    with opened(trial) as registry, serve._sweeping(trial, registry, SimpleNamespace()):
        assert ended.wait(30)
    assert [path.parent.name for path in identified(trial)] == [other]
    assert [quarantine_entry(trial.quarantine, one).outcome for one in (name, other)] == [outcome, ""]


def test_a_verdict_in_the_report_alone_accepts_nothing(trial, capsys):
    """The report is written before the verdict is recorded, and it stays when a later dummy run is refused."""
    first, second = "a" * 64, "b" * 64
    with opened(trial) as registry:
        registry.record_dummy_run("S02", accepted=False, upload_digest=first, findings=["r"])
        registry.record_dummy_run("S02", accepted=True, upload_digest=second)
        registry.record_dummy_run("S02", accepted=False, upload_digest="c" * 64, findings=["r"])
    trial.reports.mkdir(exist_ok=True)
    for digest, outcome in ((first, ""), (second, "accepted")):
        folder = trial.quarantine / f"E{digest[0]}"
        folder.mkdir(parents=True)
        (folder / "reason.json").write_text(json.dumps({
            "received": "2024-01-01T00:00:00+00:00", "refused_as": "ComplianceError", "reason": "r", "next_step": "n",
            "bytes": 3, "sha256": digest, "site": "S02", "kind": "dummy run", "outcome": outcome,
        }))  # fmt: skip
        report = {"by_limits": "accepted", "findings": []}
        (trial.reports / f"dummy-run_S02_{digest[:8]}.json").write_text(json.dumps(report))
        assert cli.invoke(["quarantine", "retry", str(trial.root), folder.name]) == 2
        assert "accepted" not in capsys.readouterr().out
        assert quarantine_entry(trial.quarantine, folder.name).outcome == outcome
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.REFUSED


def test_a_settled_entry_takes_no_decision_and_no_statement(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    release_upload(trial.root, name, reason="old scanner", by="QC", subject=NUMBER)
    before = actions(trial)
    for decision_of in ({"reason": "", "by": ""}, {"reason": "r", "by": "QC", "before_infusion": False}):
        for more in ({}, {"replace_because": "moved"}, {"clear_identity": ["nonsense"]}):
            with pytest.raises(UsageError, match=r"this entry is settled already \("):
                release_upload(trial.root, name, subject=NUMBER, **decision_of, **more)
    with pytest.raises(UsageError, match=r"this entry is settled already \("):
        retry_upload(trial.root, name, subject=NUMBER, before_infusion=False, patient_changed=" ")
    assert actions(trial) == before


def test_copies_are_removed_by_one_process(trial, tmp_path):
    """A copy in use stays; two processes that remove it at once do not disturb each other."""
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    entry = quarantine_entry(trial.quarantine, name)
    for number in range(2000):
        (entry.upload / f"MUSTERMANN_{number}.dcm").touch()
    with quarantined.only_user(trial.quarantine, entry.sha256):
        with opened(trial) as registry:
            upload_task.settle_upload(trial, registry, entry.sha256, kind="visit", visit="wk04")
        assert identified(trial) == [entry.upload]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(quarantined.remove_settled, [trial.quarantine] * 4)] == [None] * 4
    assert identified(trial) == []


def test_a_copy_that_cannot_be_removed_is_a_warning(trial, tmp_path, monkeypatch, caplog):
    def fail(folder):
        raise PermissionError(13, "Permission denied", str(next(iter(folder.iterdir()))))

    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "Mustermann", ComplianceError, "at most 3 mm")
    thickness_is(trial, "query", "refuse")
    with monkeypatch.context() as patch:
        patch.setattr(quarantined, "shutil", SimpleNamespace(rmtree=fail))
        assert retry_upload(trial.root, name, subject=NUMBER).visit == "wk04"
    assert {r.getMessage() for r in caplog.records if r.name == quarantined.__name__} == {
        f"quarantine/{name} holds identified files and cannot be removed; remove it"
    }


def test_a_copy_is_measured_once_and_a_fault_of_the_disk_is_one_line(trial, tmp_path, monkeypatch, capsys):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    read, measure = [], quarantine_module.measure_upload

    def counted(upload):
        read.append(upload)
        return measure(upload)

    def broken(upload):
        raise OSError(5, "Input/output error", str(next(iter(upload.iterdir()))))

    command = [
        "quarantine",
        "release",
        str(trial.root),
        name,
        "--subject",
        NUMBER,
        "--reason",
        "old",
        "--by",
        "QC",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(upload_task, "measure_upload", broken)
        assert cli.invoke(command) == 2
    said = capsys.readouterr().err
    assert "found: Input/output error" in said
    assert ".dcm" not in said
    assert "Traceback" not in said
    monkeypatch.setattr(upload_task, "measure_upload", counted)
    assert cli.invoke(command) == 0
    assert len(read) == 1


def test_notes_of_an_accepted_upload_are_recorded_and_printed(trial, tmp_path, capsys):
    """What is no query has no other record."""
    thickness_is(trial, "refuse", "query")
    upload = factory.write_visit(tmp_path / "up", SMALL[:2])
    factory.write_visit(upload, SMALL[2:], factory.new_study(factory.Patient()))
    with pytest.raises(ComplianceError, match="at most 3 mm"):
        receive_visit(trial.root, upload, site="S01", subject=NUMBER, visit="wk04")
    thickness_is(trial, "query", "refuse")
    (entry,) = list_quarantine(trial.root)
    assert cli.invoke(["quarantine", "retry", str(trial.root), entry.name, "--subject", NUMBER]) == 0
    note = "expected one study in an upload, found 2 studies of one patient and one day"
    assert f"  {note}\n" in capsys.readouterr().out
    (received,) = [details for action, details in actions(trial) if action == "scan received"]
    assert note in received["notes"]


@pytest.mark.parametrize("text", ["a\0b", "caf\udce9"])
def test_a_reason_that_no_database_stores_is_refused_at_the_door(trial, tmp_path, text):
    upload = factory.write_visit(tmp_path / "up", SMALL)
    before = actions(trial)
    for more in ({"replace_because": text}, {"patient_changed": text}):
        with pytest.raises(UsageError, match="expected text in UTF-8 without NUL"):
            receive_visit(trial.root, upload, site="S01", subject=NUMBER, visit="wk04", **more)
    with pytest.raises(UsageError, match="expected text in UTF-8 without NUL"):
        receive_dummy_run(trial.root, upload, site="S02", by=text)
    assert actions(trial) == before


def test_a_copy_that_is_not_whole_is_never_tried(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    thickness_is(trial, "query", "refuse")
    next(iter(identified(trial)[0].iterdir())).unlink()
    with pytest.raises(
        UsageError,
        match=r"as it was received \(SHA-256 [0-9a-f]{12}\), found other content \(SHA-256 [0-9a-f]{12}\)",
    ):
        retry_upload(trial.root, name, subject=NUMBER)
    assert [entry.name for entry in list_quarantine(trial.root)] == [name]


def test_an_upload_before_the_dummy_run_is_tried_again_after_it(trial, tmp_path):
    with opened(trial) as registry:
        registry.record_dummy_run("S01", accepted=False, upload_digest="d1")
    name = refused(trial, tmp_path / "up", GateClosedError, "expected an accepted dummy run")
    with opened(trial) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="d2")
    assert retry_upload(trial.root, name, subject=NUMBER, visit="wk04").visit == "wk04"


def test_the_command_lists_and_shows_without_patient_data(trial, tmp_path, capsys):
    name = refused(trial, tmp_path / "Mustermann", ComplianceError, "expected FLAIR", SMALL[1:])
    (entry,) = run_json(capsys, "list", trial.root)
    assert (entry["name"], entry["site"], entry["visit"], entry["refused_as"], entry["upload_kept"]) == (
        name, "S01", "wk04", "ComplianceError", True
    )  # fmt: skip
    assert run_json(capsys, "show", trial.root, name) == entry
    assert cli.invoke(["quarantine", "show", str(trial.root), name]) == 0
    assert cli.invoke(["quarantine", "list", str(trial.root), "--all"]) == 0
    printed = capsys.readouterr().out
    assert f" {name} " in printed.partition("Quarantine")[2]  # whole, to be copied, in 80 columns, too
    text = printed + json.dumps(entry)
    assert "expected FLAIR" in text
    for identity in ("Mustermann", "4711", NUMBER, "19640812", "20210314"):
        assert identity not in text
    for wrong in ("../registry", "nothing"):
        assert cli.invoke(["quarantine", "show", str(trial.root), wrong]) == 2
        assert "expected the name of an entry of the quarantine" in capsys.readouterr().err
    assert UploadRefusedError.exit_code == cli.invoke(
        ["quarantine", "retry", str(trial.root), name, "--subject", NUMBER]
    )


def run_json(capsys, command, *arguments):
    assert cli.invoke(["quarantine", command, *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_statements_of_the_site_are_given_with_a_retry(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    with pytest.raises(ComplianceError, match="at most 3 mm"):
        send(trial, tmp_path / "up", visit="wk00")
    name = list_quarantine(trial.root)[-1].name
    options = ["--subject", NUMBER, "--reason", "old scanner", "--by", "QC", "--before-infusion", "yes"]
    assert cli.invoke(["quarantine", "release", str(trial.root), name, *options]) == 0
    (received,) = [details for action, details in actions(trial) if action == "scan received"]
    assert received["before_infusion"] == "yes"


def test_two_retries_of_an_upload_at_once_are_one(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    name = refused(trial, tmp_path / "up", ComplianceError, "at most 3 mm")
    digest = list_quarantine(trial.root)[0].sha256
    thickness_is(trial, "query", "refuse")
    with (
        exclusive(trial.quarantine / f"retry-{digest[:16]}.lock", wait_s=0),
        pytest.raises(UsageError, match=r"a retry of this upload is in progress \(process \d+ on \S+\)"),
    ):
        retry_upload(trial.root, name, subject=NUMBER)
    assert len(identified(trial)) == 1
    assert retry_upload(trial.root, name, subject=NUMBER).visit == "wk04"


def test_an_accepted_upload_settles_all_its_entries(trial, tmp_path):
    thickness_is(trial, "refuse", "query")
    for visit in ("wk04", "wk12"):
        with pytest.raises(ComplianceError, match="at most 3 mm"):
            send(trial, tmp_path / "up", visit=visit)
    other = refused(trial, tmp_path / "other", ComplianceError, "at most 3 mm", study_uid="1.2.3", number="X9")
    thickness_is(trial, "query", "refuse")
    first = next(entry.name for entry in list_quarantine(trial.root) if entry.visit == "wk04")
    retry_upload(trial.root, first, subject=NUMBER)
    assert [(e.visit, e.outcome) for e in list_quarantine(trial.root, settled=True) if e.name != other] == [
        ("wk04", "accepted"), ("wk12", "accepted as wk04"),
    ]  # fmt: skip
    assert [entry.name for entry in list_quarantine(trial.root)] == [other]
    assert len(identified(trial)) == 1


def test_an_accepted_upload_that_is_sent_again_settles_no_later_refusal_of_it(trial, tmp_path):
    send(trial, tmp_path / "up")
    with pytest.raises(ComplianceError, match="another subject"):
        receive_visit(trial.root, tmp_path / "up", site="S01", subject="S01-0009", visit="wk04")
    assert receive_visit(trial.root, tmp_path / "up", site="S01", subject=NUMBER, visit="wk04").known
    (entry,) = list_quarantine(trial.root)
    assert (entry.visit, entry.outcome, len(identified(trial))) == ("wk04", "", 1)


def test_entries_of_one_second_are_listed_in_the_order_of_their_receipt(tmp_path):
    now = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    reason = UnsafeUploadError("expected a safe archive, found another", hint="send it again")
    names = []
    for number in range(8):
        (upload := tmp_path / f"{number}.zip").write_bytes(bytes([number]))
        (stage := tmp_path / f"stage{number}").mkdir()
        received = now + dt.timedelta(milliseconds=number)
        place = quarantine(
            upload, tmp_path / "quarantine", stage=stage, reason=reason, context={}, now=received, max_bytes=1
        )
        names.append(place.name)
    assert names != sorted(names)
    assert [entry.name for entry in quarantine_entries(tmp_path / "quarantine")] == names


@pytest.mark.parametrize("seconds", [-60, 60])
def test_an_earlier_dummy_run_does_not_change_a_newer_gate(trial, tmp_path, seconds):
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "inner.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnsafeUploadError):
        receive_dummy_run(trial.root, tmp_path / "up", site="S02")
    (entry,) = list_quarantine(trial.root)
    judged = dt.datetime.fromisoformat(entry.received) + dt.timedelta(seconds=seconds)
    with opened(trial) as registry:
        registry.record_dummy_run("S02", accepted=False, upload_digest="d9")
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        raw.execute("UPDATE sites SET gate_at = ? WHERE code = 'S02'", [judged.isoformat()])
    if seconds > 0:
        with pytest.raises(UsageError, match="site S02: expected its latest dummy run, found an earlier one"):
            retry_upload(trial.root, entry.name)
        with opened(trial) as registry, pytest.raises(UsageError, match="expected its latest dummy run"):
            registry.record_dummy_run("S02", accepted=True, upload_digest="d1", received=entry.received)
        assert list_quarantine(trial.root) == [entry]
    else:
        with pytest.raises(UnsafeUploadError):
            retry_upload(trial.root, entry.name)


def test_a_name_that_the_registry_cannot_store_is_refused(trial, tmp_path):
    name = refused(trial, tmp_path / "up", ComplianceError, "expected FLAIR", SMALL[1:])
    for length in (65, 64):
        error, match = (UsageError, "expected at most 64 characters as by, found 65") if length > 64 else (
            ComplianceError, "expected FLAIR"
        )  # fmt: skip
        with pytest.raises(error, match=match):
            release_upload(trial.root, name, reason="please", by="Q" * length, subject=NUMBER)


def test_a_tag_may_be_cleared_for_one_series_alone(trial, tmp_path):
    specs = [replace(s, extra={"SoftwareVersions": "B17 Fortuna"}) for s in SMALL]
    name = refused(trial, tmp_path / "up", IdentityError, r"series 4: .*; series 1: ", specs, name="Fortuna^Eva")
    with pytest.raises(IdentityError, match=r"^series 4: expected no identity"):
        release_upload(trial.root, name, reason="a name", by="QC", subject=NUMBER, clear_identity=["1:0018,1020"])
    assert len(identified(trial)) == 1


def test_the_identity_alarm_of_a_dummy_run_is_cleared_by_tag(trial, tmp_path, monkeypatch):
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: [])
    specs = [replace(s, extra={"SoftwareVersions": "B17 Fortuna"}) for s in SMALL]
    sent = factory.write_visit(tmp_path / "up", specs, replace(factory.Patient(), name="Fortuna^Eva"))
    with pytest.raises(IdentityError, match="expected no identity") as caught:
        receive_dummy_run(trial.root, sent, site="S01")
    assert "--clear-identity" in caught.value.hint
    (entry,) = list_quarantine(trial.root)
    assert (entry.kind, entry.refused_as) == ("dummy run", "IdentityError")
    result = release_upload(
        trial.root, entry.name, reason="a name of the software", by="QC", clear_identity=["SoftwareVersions"]
    )
    assert result.verdict.startswith("accepted")
    with opened(trial) as registry:
        assert registry.site("S01").gate is Gate.ACCEPTED


def images_find(monkeypatch, *findings):
    monkeypatch.setattr(decision, "judge_images", lambda measures, protocol: list(findings))


def test_a_release_overrules_a_limit_of_the_images(trial, tmp_path, monkeypatch):
    images_find(
        monkeypatch,
        Finding("snr", Action.REFUSE, "FLAIR: expected 30, found 20", Contrast.FLAIR, to_do="check the coil"),
    )
    name = refused(trial, tmp_path / "up", ComplianceError, "FLAIR: expected 30, found 20")
    result = release_upload(trial.root, name, reason="the best of this scanner", by="QC", subject=NUMBER)
    assert "FLAIR: expected 30, found 20 (accepted by the reading centre)" in result.queries


def test_blank_slices_are_never_overruled(trial, tmp_path, monkeypatch):
    images_find(monkeypatch, Finding("blank_slices", Action.REFUSE, "FLAIR: found 3 blank", Contrast.FLAIR))
    name = refused(trial, tmp_path / "up", ComplianceError, "found 3 blank")
    with pytest.raises(ComplianceError, match="found 3 blank"):
        release_upload(trial.root, name, reason="please", by="QC", subject=NUMBER)


def test_a_release_overrules_the_order_of_days(trial, tmp_path):
    """A console without a clock states one date for all visits."""
    send(trial, tmp_path / "a", visit="wk04")
    with pytest.raises(ComplianceError, match="expected the days of the scans in the order of the visits"):
        ingest_trial.ingest(trial, ingest_trial.upload(tmp_path / "b", seed=2), "wk12", subject=NUMBER)
    (entry,) = list_quarantine(trial.root)
    result = release_upload(trial.root, entry.name, reason="console without a clock", by="QC", subject=NUMBER)
    (query,) = [query for query in result.queries if "in the order of the visits" in query]
    assert query.endswith("(accepted by the reading centre)")
