"""An upload under the wrong subject or visit is refused, with the registry and the quarantine to show for it."""

import datetime as dt
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace

import pydicom
import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ComplianceError, UploadRefusedError, UsageError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.intake.header_worker import pseudonyms
from qc import decision
from reading_centre import cli
from reading_centre.use_cases.trial import staging
from reading_centre.use_cases.uploads import visit_judgement
from reading_centre.use_cases.uploads.ingest import visit as ingest_use_case
from tests.unit import ingest_trial
from tests.unit.dicom_factory import Patient
from tests.unit.ingest_trial import SMALL, agree, ingest, opened, upload

pytestmark = pytest.mark.usefixtures("no_image_checks")

FLAIR = SMALL[:1]
STATEMENT = "visit wk00: expected the site's statement that the scan came before the infusion, found none"
AFTER = "visit wk00: expected a scan before the infusion, found a scan after it by the site's statement"


@pytest.fixture
def trial(tmp_path):
    return ingest_trial.new_trial(tmp_path / "trial")


def test_a_scan_of_a_later_day_than_that_of_the_upload_is_a_query(trial, tmp_path):
    days = (dt.datetime.now(tz=dt.UTC) - ingest_trial.WEEK0).days
    tomorrow, later = (
        ingest(trial, upload(tmp_path / str(day), day=day, specs=FLAIR), dry_run=True).queries
        for day in (days + 1, days + 3)
    )
    expected = "expected a date of the study up to today, found a later one; order and window are unclear"
    assert (expected in tomorrow, expected in later) == (False, True)


def test_what_is_stored_is_keyed_or_shifted(trial, tmp_path):
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    ingest(trial, upload(tmp_path / "b", day=30, specs=FLAIR), "wk04")
    first, second = (scan.identity for scan in agree(trial))
    assert first.person == second.person
    assert all(first.person)
    assert first.studies.isdisjoint(second.studies)
    assert second.shifted_day - first.shifted_day == 30
    assert first.shifted_day < ingest_trial.WEEK0.toordinal() - 300
    with closing(sqlite3.connect(trial.registry_file)) as raw:
        stored = "\n".join(raw.iterdump())
    for word in ("Mustermann", "4711", str(ingest_trial.WEEK0.toordinal()), "2021"):
        assert not re.search(rf"(?<![0-9a-f]){word}(?![0-9a-f])", stored), word  # a digest may contain 4711


@pytest.mark.requirement("INTAKE-07")
def test_the_images_of_one_subject_are_not_another_one(trial, tmp_path):
    sent = upload(tmp_path / "a", specs=FLAIR)
    ingest(trial, sent)
    with pytest.raises(
        ComplianceError, match="expected images of this visit alone, found FLAIR of another subject"
    ):
        ingest(trial, sent, subject="0002")
    with pytest.raises(ComplianceError, match="found FLAIR of visit wk00"):
        ingest(trial, upload(tmp_path / "b", specs=FLAIR), "wk04")
    assert [(scan.visit) for scan in agree(trial)] == ["wk00"]
    with opened(trial) as registry:
        trail = registry.audit_trail()
    assert [entry.action for entry in trail[-5:]] == [
        "upload matches another subject", "measures stored", "upload refused", "measures stored", "upload refused",
    ]  # fmt: skip
    assert trail[-5].details == {"scans": [f"{agree(trial)[0].subject} wk00"]}
    reasons = [json.loads(path.read_text())["reason"] for path in trial.quarantine.glob("*/reason.json")]
    assert len(reasons) == 2
    assert not [reason for reason in reasons if agree(trial)[0].subject in reason]


def test_another_patient_is_accepted_only_for_a_reason(trial, tmp_path):
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    married = replace(Patient(), name="Beispiel^Erika")
    sent = upload(tmp_path / "b", day=28, patient=married, specs=FLAIR)
    with pytest.raises(ComplianceError, match="expected the patient of the subject's other visits") as caught:
        ingest(trial, sent, "wk04")
    assert "--patient-changed REASON" in caught.value.hint
    ingest(trial, sent, "wk04", patient_changed="name changed by marriage")
    with opened(trial) as registry:
        last = [entry for entry in registry.audit_trail() if entry.action == "scan received"][-1]
    assert last.details["patient_changed"] == "name changed by marriage"
    ingest(trial, upload(tmp_path / "c", day=84, patient=married, specs=FLAIR), "wk12")
    assert len(agree(trial)) == 3


def without_names(trial, folder, *, site="S01", **more):
    """A visit as the browser of the site sends it."""
    key, sent = Sealed.open(trial).browser_key(site), upload(folder, specs=FLAIR, **more)
    for path in sent.iterdir():
        dataset = pydicom.dcmread(path)
        number, name, birth = pseudonyms(key, [dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate])
        dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = (
            f"PSN-{number}",
            f"PSN-{name}^{birth}",
            "",
        )
        dataset.save_as(path)
    return sent


def named(_trial, folder, **more):
    return upload(folder, specs=FLAIR, **more)


@pytest.mark.parametrize(("first", "second"), [(named, without_names), (without_names, named)])
@pytest.mark.requirement("INTAKE-07")
def test_a_patient_is_known_with_and_without_names(trial, tmp_path, first, second):
    """Names in another case, of another patient, and of another subject."""
    done = ingest(trial, first(trial, tmp_path / "a"))
    spelt = replace(Patient(), name="MUSTERMANN^ERIKA^^")
    same = ingest(trial, second(trial, tmp_path / "b", day=28, patient=spelt), "wk04")
    assert [query for query in same.queries if "patient" in query] == []
    another = second(trial, tmp_path / "c", day=84, patient=replace(Patient(), name="Falsch^Franz"))
    with pytest.raises(ComplianceError, match="found a patient with another name"):
        ingest(trial, another, "wk12")
    twice = ingest(trial, second(trial, tmp_path / "d", day=85), subject="0002")
    assert "expected a patient of one subject, found the patient of another subject" in twice.queries
    assert {scan.subject for scan in agree(trial)} == {done.subject, twice.subject}


def test_a_patient_that_cannot_be_compared_is_a_query_to_the_site(trial, tmp_path):
    """An earlier version stored no pseudonyms of named scans."""
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        assert raw.execute("DELETE FROM keys WHERE key LIKE 'p%'").rowcount == 3
    ingest(
        trial, without_names(trial, tmp_path / "b", day=28, patient=replace(Patient(), name="Neu^Nina")), "wk04"
    )
    with opened(trial) as registry:
        (question,) = [
            q.question for q in registry.site_queries.all() if q.question.rule == "patient_not_compared"
        ]
    assert question.message.startswith("expected patient data that can be compared with those of visit wk00")
    assert (
        question.to_do == "confirm that the patient is the same, or send one visit again in the way of the other"
    )


def test_days_against_the_order_of_visits_are_refused_and_a_missed_window_is_a_query(trial, tmp_path):
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    with pytest.raises(ComplianceError, match="visit wk24: expected the days of the scans in the order"):
        ingest(trial, upload(tmp_path / "b", day=-730, specs=FLAIR), "wk24")
    late = ingest(trial, upload(tmp_path / "c", day=40, specs=FLAIR), "wk04")
    query = "visit wk04: expected a scan within 7 days of week 4, found a scan 12 days later"
    assert query in late.queries
    with opened(trial) as registry:
        assert query in registry.subject(late.subject).visits[1].findings


@pytest.mark.requirement("INTAKE-08")
def test_the_site_states_the_infusion_at_once_or_later(trial, tmp_path, capsys):
    sent = upload(tmp_path / "a", specs=FLAIR)
    arguments = ["ingest", str(trial.root), str(sent), "--site", "S01", "--subject", "0001", "--visit", "wk00"]
    assert cli.invoke(arguments) == 0
    assert STATEMENT in capsys.readouterr().out
    for answer, queries in (("no", [AFTER]), ("yes", [])):
        assert cli.invoke([*arguments, "--before-infusion", answer]) == 0
        shown = capsys.readouterr().out
        assert [query for query in (STATEMENT, AFTER) if query in shown] == queries
        (scan,) = agree(trial)
        assert scan.identity.before_infusion is (answer == "yes")
    with opened(trial) as registry:
        entries = [e for e in registry.audit_trail() if e.action == "statement of the site"]
    assert [entry.details["before_infusion"] for entry in entries] == ["no", "yes"]
    assert cli.invoke([*arguments, "--before-infusion", "perhaps"]) == 2


def test_a_number_that_the_site_was_not_given_is_refused(trial, tmp_path):
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(text.replace('code = "S01"', 'code = "S01"\nsubjects = ["0001", "A-7"]'))
    sent = upload(tmp_path / "a", specs=FLAIR)
    with pytest.raises(
        ComplianceError, match=r"site S01: this number is not in the list of the site's \d+ subjects"
    ):
        ingest(trial, sent, subject="0010")
    assert ingest(trial, sent, subject="a-7").contrasts == ("FLAIR",)
    assert (trial.sealed / "subjects.csv").read_text().count("\n") == 2


def test_a_list_of_subjects_changes_no_digest_of_the_settings():
    text = protocol_text()
    listed = parse_protocol(text.replace('code = "S01"', 'code = "S01"\nsubjects = ["0001"]'))
    assert listed.sites[0].subjects == ("0001",)
    assert settings_digest(listed) == settings_digest(parse_protocol(text))


def test_a_wrong_scan_makes_room_for_the_right_one(trial, tmp_path):
    """The patient, day and images of the scan that is replaced do not speak against its replacement."""
    wrong = upload(tmp_path / "a", patient=replace(Patient(), name="Falsch^Franz"), specs=FLAIR)
    ingest(trial, wrong)
    ingest(trial, upload(tmp_path / "b", seed=1, specs=FLAIR), replace_because="another patient")
    with pytest.raises(ComplianceError, match="found FLAIR of a withdrawn scan of another subject"):
        ingest(trial, wrong, subject="0002")
    assert len(agree(trial)) == 1
    with opened(trial) as registry, pytest.raises(UsageError, match="expected the site it belongs to"):
        registry.require_site(agree(trial)[0].subject, "S02")


def test_of_two_uploads_at_once_the_registry_itself_refuses_the_second_subject(trial, tmp_path, monkeypatch):
    sent = upload(tmp_path / "a", specs=FLAIR)
    ingest(trial, sent)
    monkeypatch.setattr(visit_judgement, "check_identity", lambda *_, **__: ())  # compared before
    with pytest.raises(UploadRefusedError, match="found those of another visit or subject"):
        ingest(trial, sent, subject="0002")
    assert len(agree(trial)) == 1


def test_no_other_scan_is_accepted_between_comparison_and_entry(trial, tmp_path, monkeypatch):
    """The same study for two subjects, with other images, is found, also by uploads at the same moment."""
    again = tuple(replace(spec, number=9) for spec in FLAIR)
    first, second = upload(tmp_path / "a", specs=FLAIR), upload(tmp_path / "b", specs=again)
    monkeypatch.setattr(staging, "WAIT_S", 0.2)

    def meanwhile(*args, **more):
        with pytest.raises(
            UsageError, match=r"accepted scans: an upload or analysis is in progress \(process \d+ on \S+\)"
        ):
            ingest(trial, second, subject="0002")
        return decision.write_scans(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(ingest_use_case, "write_scans", meanwhile)
        ingest(trial, first)
    with pytest.raises(ComplianceError, match="expected a study of this visit alone"):
        ingest(trial, second, subject="0002")
    assert len(agree(trial)) == 1


def test_scans_of_an_older_registry_are_no_witnesses(trial, tmp_path):
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        raw.execute("UPDATE scans SET shifted_day = NULL")
        raw.execute("DELETE FROM keys")
        raw.execute("DELETE FROM images")
    other = upload(tmp_path / "b", day=-3, patient=replace(Patient(), name="Neu^Nina"), specs=FLAIR)
    assert ingest(trial, other, "wk04").contrasts == ("FLAIR",)


def test_the_second_study_of_an_upload_is_not_another_visit(trial, tmp_path):
    both = upload(tmp_path / "a", specs=FLAIR)
    upload(both, seed=3, specs=SMALL[1:2])  # a restarted console: a second study of the same day
    ingest(trial, both)
    again = upload(tmp_path / "b", seed=4, day=28, specs=FLAIR)
    for path in sorted(again.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = f"{Patient().study_uid}.0.3"
        dataset.save_as(path)
    with pytest.raises(ComplianceError, match="found the study of visit wk00"):
        ingest(trial, again, "wk04")


@pytest.mark.parametrize(
    ("keywords", "days"), [(("StudyDate",), "found 2 days in one study"),
                           (("SeriesDate", "AcquisitionDate", "ContentDate"), "more than 24 hours apart")]
)  # fmt: skip
def test_one_study_of_two_days_is_refused(trial, tmp_path, keywords, days):
    sent = upload(tmp_path / "a", specs=SMALL)
    for path in sent.glob("4_*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword in keywords:
            setattr(dataset, keyword, "20210411")
        dataset.save_as(path)
    with pytest.raises(UploadRefusedError, match=days):
        ingest(trial, sent)


def test_an_empty_birth_date_at_a_later_visit_is_the_same_patient(trial, tmp_path):
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    ingest(trial, upload(tmp_path / "b", day=28, patient=replace(Patient(), birth=""), specs=FLAIR), "wk04")
    mistyped = replace(Patient(), birth="19640821")
    third = ingest(trial, upload(tmp_path / "c", day=84, patient=mistyped, specs=FLAIR), "wk12")
    query = "expected the patient of the subject's other visits, found a patient with another birth date"
    assert query in third.queries


def queries_of(trial, rule):
    with opened(trial) as registry:
        return [(q.visit, q.state.value, q.question.message) for q in registry.site_queries.all()
                if q.question.rule == rule]  # fmt: skip


def test_the_window_of_a_later_visit_is_a_query_on_that_visit(trial, tmp_path):
    late = "visit wk04: expected a scan within 7 days of week 4, found a scan 12 days later"
    code = ingest(trial, upload(tmp_path / "b", day=40, specs=FLAIR), "wk04").subject
    first = ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    assert late not in first.queries
    assert queries_of(trial, "window") == [("wk04", "open", late)]
    with opened(trial) as registry:
        assert [s.findings.count(late) for s in registry.subject(code).visits[:2]] == [0, 1]
    # another first visit, with which the later one is in its window
    ingest(trial, upload(tmp_path / "c", day=10, specs=FLAIR), replace_because="wrong day")
    assert queries_of(trial, "window") == [("wk04", "closed", late)]
    with opened(trial) as registry:
        assert late not in registry.subject(code).visits[1].findings
        assert len(registry.subject(code).visits[1].findings) > 1  # the others stay


def test_a_replacement_that_is_repeated_withdraws_nothing(trial, tmp_path):
    """After SIGKILL behind the commit the same command is given again."""
    ingest(trial, upload(tmp_path / "a", specs=FLAIR))
    second = upload(tmp_path / "b", seed=1, specs=FLAIR)
    done = ingest(trial, second, replace_because="wrong images")
    held = agree(trial)
    again = ingest(trial, second, replace_because="wrong images")
    assert (again.subject, again.contrasts) == (done.subject, done.contrasts)
    assert agree(trial) == held  # with the same receipt
    with opened(trial) as registry:
        assert len(registry.withdrawn()) == 1


def test_the_same_statement_again_asks_nothing_again(trial, tmp_path):
    sent = upload(tmp_path / "a", specs=FLAIR)
    ingest(trial, sent, before_infusion=False)
    with opened(trial) as registry:
        number = registry.site_queries.all()[-1].number
        registry.site_queries.close(number, reason="infusion was on the next day", by="QC")
        length = len(registry.audit_trail())
    assert ingest(trial, sent, before_infusion=False).queries.count(AFTER) == 1
    assert queries_of(trial, "before_infusion") == [("wk00", "closed", AFTER)]
    with opened(trial) as registry:
        assert len(registry.audit_trail()) == length
    ingest(trial, sent, before_infusion=True)
    ingest(trial, sent, before_infusion=False)  # a new statement is a new query
    assert [state for _, state, _ in queries_of(trial, "before_infusion")] == ["closed", "open"]
