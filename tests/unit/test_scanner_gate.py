"""A visit needs an accepted dummy run of its scanner, software version and receive coil; persons decide on it."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from mri_pipeline.core.errors import ComplianceError, GateClosedError, UsageError
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.quarantine import quarantine
from mri_pipeline.registry import Gate, ScannerFacts, ScannerGate, ScannerState
from qc.findings import Finding
from qc.reports.acceptance import decisions_of
from qc.scanner_gate import judge_scanner
from qc.scanner_identity import Scanner, another_machine, differences, is_another_scanner
from reading_centre import cli
from reading_centre.use_cases.uploads.dummy_run.receive import decide_dummy_run, receive_dummy_run
from reading_centre.use_cases.uploads.quarantine import list_quarantine, release_upload, retry_upload
from reading_centre.use_cases.uploads.task import UploadTask, scanner_facts
from tests.unit import dicom_factory as factory
from tests.unit.ingest_trial import SMALL, WEEK0, ingest, new_trial, opened, upload

ONE = ScannerFacts("Maker", "Model", "v1", 3.0, "ab" * 8)
OPEN = ScannerGate(
    "S01", 1, ONE, "Head", ScannerState.ACCEPTED, "d1", "2026-03-01T10:00:00+00:00", "", "", "", "", ()
)
DAY = dt.date(2026, 2, 1)


@pytest.mark.parametrize(
    ("gates", "scanner", "coil", "day", "found"),
    [
        ([OPEN], ONE, "Head", DAY, ""),
        ([OPEN], ONE, "", DAY, ""),
        ([replace(OPEN, coil="")], ONE, "Neck", DAY, ""),
        (
            [replace(OPEN, coil=""), replace(OPEN, state=ScannerState.REFUSED)],
            ONE,
            "Head",
            DAY,
            "that was refused",
        ),
        ([replace(OPEN, coil="", state=ScannerState.REFUSED), OPEN], ONE, "Head", DAY, ""),
        ([replace(OPEN, coil="", state=ScannerState.SUPERSEDED), OPEN], ONE, "", DAY, ""),
        ([replace(OPEN, coil="", state=ScannerState.SUPERSEDED), OPEN], ONE, "Neck", DAY, "another receive coil"),
        ([replace(OPEN, state=ScannerState.CLOSED)], ONE, "Head", DAY, ""),
        ([replace(OPEN, state=ScannerState.CLOSED)], ONE, "Head", dt.date(2026, 3, 1), ""),
        ([replace(OPEN, state=ScannerState.REFUSED), OPEN], ONE, "Head", DAY, ""),
        ([replace(OPEN, state=ScannerState.CLOSED)], ONE, "Head", dt.date(2026, 3, 2), "closed on 2026-03-01"),
        ([replace(OPEN, state=ScannerState.CLOSED)], ONE, "Head", None, "closed on 2026-03-01"),
        ([replace(OPEN, state=ScannerState.REFUSED)], ONE, "Head", DAY, "a dummy run that was refused"),
        ([replace(OPEN, coil=""), replace(OPEN, state=ScannerState.UNDECIDED)], ONE, "Head", DAY, ""),
        (
            [replace(OPEN, state=ScannerState.UNDECIDED)],
            ONE,
            "Head",
            DAY,
            "a dummy run that nobody has decided on",
        ),
        ([OPEN], ONE, "Neck", DAY, "a dummy run with another receive coil"),
        ([OPEN], replace(ONE, software="v2"), "Head", DAY, "a dummy run with another software version"),
        ([OPEN], replace(ONE, field_strength_t=1.5), "Head", DAY, "a dummy run with another field strength"),
        ([OPEN], replace(ONE, serial_digest="cd" * 8), "Head", DAY, "no dummy run of this scanner"),
        ([OPEN], replace(ONE, model="Other"), "Head", DAY, "no dummy run of this scanner"),
        (
            [OPEN],
            replace(ONE, manufacturer="MAKER Healthcare", software="v2"),
            "Head",
            DAY,
            "a dummy run with another software version",
        ),
        ([OPEN], replace(ONE, manufacturer="Other"), "Head", DAY, "no dummy run of this scanner"),
    ],
)
def test_a_scanner_is_its_hardware_software_and_coil(gates, scanner, coil, day, found):
    finding = judge_scanner(gates, scanner, coil, day=day, action=Action.REFUSE)
    assert finding.action is (Action.REFUSE if found else None)
    assert found in finding.message


def test_a_site_whose_dummy_run_stated_no_scanner_has_no_gate_of_a_scanner():
    assert judge_scanner([], ONE, "Head", day=DAY, action=Action.REFUSE) is None
    decided = replace(OPEN, scanner=ScannerFacts(), coil="")
    assert judge_scanner([decided], ONE, "Head", day=DAY, action=Action.REFUSE) is None
    assert judge_scanner(
        [decided, OPEN], replace(ONE, model="Other"), "Head", day=DAY, action=Action.REFUSE
    ).action


def with_coil(name, software="syngo MR B17"):
    return tuple(replace(spec, extra={"ReceiveCoilName": name, "SoftwareVersions": software}) for spec in SMALL)


@pytest.fixture
def trial(tmp_path):
    """A trial whose site has an accepted dummy run of the scanner of `upload`, with the coil 'Head 20'."""
    trial = new_trial(tmp_path / "trial")
    ingest(trial, upload(tmp_path / "up0", specs=with_coil("Head 20")), "wk00")
    with opened(trial) as registry:
        ((_, scanner),) = registry.scanner_gates.scanners().values()
        registry.record_dummy_run("S01", accepted=True, upload_digest="d1", scanner=scanner, coil="Head 20")
    return trial


def gate_states(trial):
    with opened(trial) as registry:
        assert registry.differences_from_audit() == []
        return [(gate.scanner.software, gate.coil, gate.state.value) for gate in registry.scanner_gates.all()]


@pytest.mark.requirement("INTAKE-02")
def test_a_visit_with_another_coil_waits_for_its_dummy_run(trial, tmp_path):
    sent = upload(tmp_path / "up", day=28, specs=with_coil("Head 64"))
    with pytest.raises(ComplianceError, match="found a dummy run with another receive coil") as caught:
        ingest(trial, sent, "wk04", dry_run=True)
    with pytest.raises(ComplianceError, match="found a dummy run with another receive coil"):
        ingest(trial, sent, "wk04")
    assert "mri-pipeline quarantine retry" in caught.value.hint
    (entry,) = list_quarantine(trial.root, settled=False)
    with opened(trial) as registry:
        *_, kept = registry.measures.all()
        assert (kept.visit, kept.accepted, kept.scanner) == ("wk04", False, 1)
        assert "FLAIR" in kept.values
        scanner = registry.scanner_gates.all()[0].scanner
        registry.record_dummy_run("S01", accepted=True, upload_digest="d2", scanner=scanner, coil="Head 64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qc.decision.judge_images", lambda measures, protocol: [])
        result = retry_upload(trial.root, entry.name, subject="0001")
    assert (result.visit, result.known) == ("wk04", False)
    assert gate_states(trial) == [
        ("syngo MR B17", "Head 20", "accepted"), ("syngo MR B17", "Head 64", "accepted"),
    ]  # fmt: skip


def test_a_later_scan_with_other_software_closes_the_gate_with_a_date(trial, tmp_path):
    late = (dt.datetime.now(dt.UTC).date() - WEEK0.date()).days + 5
    sent = upload(tmp_path / "up", day=late, specs=with_coil("Head 20", "syngo MR E11"))
    for dry_run, state in ((True, "accepted"), (False, "closed")):
        with pytest.raises(ComplianceError, match="found a dummy run with another software version"):
            ingest(trial, sent, "wk48", dry_run=dry_run)
        assert gate_states(trial) == [("syngo MR B17", "Head 20", state)]
    ingest(trial, upload(tmp_path / "before", day=28, specs=with_coil("Head 20")), "wk04")


def test_a_scan_of_another_patient_does_not_close_the_gate(trial, tmp_path):
    late = (dt.datetime.now(dt.UTC).date() - WEEK0.date()).days + 5
    other = factory.Patient("Other^Person", "HOSP-9", "19700101", "1.2.826.9")
    sent = upload(tmp_path / "up", day=late, patient=other, specs=with_coil("Head 20", "syngo MR E11"))
    with pytest.raises(ComplianceError, match="another software version") as caught:
        ingest(trial, sent, "wk48")
    assert "patient" in caught.value.message
    assert gate_states(trial) == [("syngo MR B17", "Head 20", "accepted")]


def test_the_reading_centre_may_accept_a_visit_without_the_dummy_run(trial, tmp_path):
    with pytest.raises(ComplianceError, match="another receive coil"):
        ingest(trial, upload(tmp_path / "up", day=28, specs=with_coil("Head 64")), "wk04")
    (entry,) = list_quarantine(trial.root, settled=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qc.decision.judge_images", lambda measures, protocol: [])
        released = release_upload(
            trial.root, entry.name, reason="the patient cannot return", by="QC 1", subject="0001"
        )
    assert any("another receive coil (accepted by the reading centre)" in text for text in released.queries)


@pytest.mark.parametrize(("action", "where"), [("query", "queries"), ("note", "notes")])
def test_the_consequence_is_a_setting(trial, tmp_path, action, where):
    text = trial.protocol_file.read_text().replace(
        'without_dummy_run = "refuse"', f'without_dummy_run = "{action}"'
    )
    trial.protocol_file.write_text(text)
    result = ingest(trial, upload(tmp_path / "up", day=28, specs=with_coil("Head 64")), "wk04")
    found = [text for text in getattr(result, where) if "accepted dummy run" in text]
    assert len(found) == 1


def test_a_coil_with_the_name_of_the_patient_is_not_stored(tmp_path):
    trial = new_trial(tmp_path / "trial")
    ingest(trial, upload(tmp_path / "up", specs=with_coil("mustermann 20")), "wk00")
    ingest(trial, upload(tmp_path / "next", day=28, specs=with_coil("Head 20")), "wk04")
    with opened(trial) as registry:
        (code,) = registry.subjects()
        profiles = registry.scan_profiles(code)
    assert {visit: profile["coil"] for visit, profile in profiles.items()} == {"wk00": "", "wk04": "Head 20"}


@pytest.fixture
def blurred(tmp_path, monkeypatch):
    """A trial, and a dummy run of site S02 that is refused by its signal to noise alone."""
    found = [Finding("snr", Action.REFUSE, "expected more signal, found noise", Contrast.FLAIR)]
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: found)
    return new_trial(tmp_path / "trial"), factory.write_visit(tmp_path / "up", SMALL)


def test_a_person_accepts_a_refused_dummy_run_and_refuses_it_again(blurred, capsys):
    trial, sent = blurred
    command = ["dummy-run", str(trial.root), "--site", "S02"]
    assert cli.invoke([*command, str(sent)]) == 3
    with opened(trial) as registry:
        (gate,) = registry.scanner_gates.all()
        assert (gate.site, gate.state, gate.rules) == ("S02", ScannerState.REFUSED, ("snr",))
        assert {m.site: m.accepted for m in registry.measures.all()} == {"S02": False}
    capsys.readouterr()
    decision = [*command, "--decide", "accept", "--reason", "seen on the console", "--by", "QC 1"]
    assert cli.invoke([*decision, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "accepted"
    assert shown["scanner"].keys() == {"manufacturer", "model", "software", "field_strength_t"}
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.ACCEPTED
    assert [entry.outcome for entry in list_quarantine(trial.root, settled=True)] == ["accepted"]
    assert cli.invoke([*command, str(sent)]) == 3  # the limits refuse it still; the decision stands
    (page,) = trial.reports.glob("dummy-run_S02_*.html")
    assert "accepted by QC 1" in page.read_text()
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.ACCEPTED
    assert cli.invoke([*command, "--decide", "refuse", "--reason", "noise", "--by", "QC 2"]) == 0
    assert [one["by"] for one in decisions_of(page)] == ["QC 1", "QC 2"]
    assert "refused" in capsys.readouterr().out
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.REFUSED


def with_scanner(serial, *, station="MRSTATION7", software="syngo MR B17", of=SMALL):
    extra = {"DeviceSerialNumber": serial, "StationName": station, "SoftwareVersions": software}
    return tuple(replace(spec, extra=extra) for spec in of)


@pytest.fixture
def judging(tmp_path, monkeypatch):
    """A trial whose limits find nothing, and a function that sends a dummy run of site S02."""
    monkeypatch.setattr("qc.acceptance.judge_images", lambda measures, protocol: [])
    monkeypatch.setattr("qc.decision.judge_images", lambda measures, protocol: [])
    trial = new_trial(tmp_path / "trial")

    def run(name, specs, **patient):
        sent = factory.write_visit(tmp_path / name, specs, replace(factory.Patient(), **patient))
        return sent, receive_dummy_run(trial.root, sent, site="S02")

    return trial, run


def persons(trial, number):
    trial.protocol_file.write_text(trial.protocol_file.read_text().replace("persons = 0", f"persons = {number}"))


def test_dummy_runs_of_two_scanners_are_tried_again_in_any_order(judging):
    trial, run = judging
    refusal = [Finding("snr", Action.REFUSE, "expected more signal, found noise", Contrast.FLAIR)]
    with (
        mock.patch("qc.acceptance.judge_images", return_value=refusal),
        pytest.raises(ComplianceError, match="found noise"),
    ):
        run("a1", with_scanner("SN-A"), study_uid="1.2.1")
    (early,) = list_quarantine(trial.root)
    sent, _ = run("b1", with_scanner("SN-B"), study_uid="1.2.2")
    assert retry_upload(trial.root, early.name).gate == "accepted"  # the later one is of another scanner
    assert list_quarantine(trial.root) == []
    with (
        mock.patch("qc.acceptance.judge_images", return_value=refusal),
        pytest.raises(ComplianceError, match="found noise"),
    ):
        run("b2", with_scanner("SN-B"), study_uid="1.2.3")
    (second,) = list_quarantine(trial.root)
    run("b3", with_scanner("SN-B"), study_uid="1.2.4")
    for _ in range(2):
        with pytest.raises(UsageError, match="site S02: expected its latest dummy run, found an earlier one"):
            retry_upload(trial.root, second.name)
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        receive_dummy_run(trial.root, sent, site="S02")
    assert list_quarantine(trial.root) == [second]
    with opened(trial) as registry:
        assert [gate.state.value for gate in registry.scanner_gates.all("S02")] == ["accepted", "accepted"]
        assert registry.differences_from_audit() == []


def test_a_dummy_run_that_a_person_refused_stays_in_quarantine(judging, tmp_path, capsys):
    trial, run = judging
    persons(trial, 1)
    sent, first = run("a1", with_scanner("SN-A"))
    assert first.gate == "undecided"
    decide_dummy_run(trial.root, site="S02", accept=False, reason="blurred", by="QC 1")
    (tmp_path / "stage").mkdir()
    quarantine(
        sent, trial.quarantine, stage=tmp_path / "stage", reason=ComplianceError("noise"),
        context={"site": "S02", "kind": "dummy run"}, now=dt.datetime.now(dt.UTC), max_bytes=10**9,
    )  # fmt: skip
    (entry,) = list_quarantine(trial.root)
    assert cli.invoke(["dummy-run", str(trial.root), str(sent), "--site", "S02"]) == 0
    assert "a person has refused this dummy run" in capsys.readouterr().out
    assert list_quarantine(trial.root) == [entry]
    decide_dummy_run(trial.root, site="S02", accept=True, reason="seen again", by="QC 1")
    assert list_quarantine(trial.root) == []


def test_an_accepted_gate_stands_while_a_new_dummy_run_waits(judging, capsys):
    trial, run = judging
    persons(trial, 1)
    run("a1", with_scanner("SN-A"), study_uid="1.2.1")
    decide_dummy_run(trial.root, site="S02", accept=True, reason="good", by="QC 1")
    sent, second = run("a2", with_scanner("SN-A"), study_uid="1.2.2")
    assert second.gate == "undecided"
    ingest(trial, upload(sent.parent / "v1", specs=with_scanner("SN-A")), "wk00", site="S02")
    gate = decide_dummy_run(trial.root, site="S02", accept=False, reason="blurred", by="QC 1")
    assert second.report.endswith(f"{gate.dummy_run_digest[:8]}.html")
    assert [one["decision"] for one in decisions_of(Path(second.report))] == ["refused"]
    with pytest.raises(GateClosedError, match="found a dummy run that was refused"):
        ingest(trial, upload(sent.parent / "v2", day=28, specs=with_scanner("SN-A")), "wk04", site="S02")


def test_a_renamed_station_needs_no_new_dummy_run(judging, tmp_path):
    trial, run = judging
    run("a1", with_scanner("SN-A"))
    ingest(trial, upload(tmp_path / "v1", specs=with_scanner("SN-A")), "wk00", site="S02")
    renamed = with_scanner("SN-A", station="MRHALL2")
    result = ingest(trial, upload(tmp_path / "v2", day=28, specs=renamed), "wk04", site="S02")
    assert not any("scanner" in text for text in result.queries)
    with opened(trial) as registry:
        assert list(registry.scanner_gates.scanners()) == [1]
        assert [one.scanner for one in registry.measures.all()] == [1, 1, 1]
    with pytest.raises(ComplianceError, match="found no dummy run of this scanner"):
        ingest(trial, upload(tmp_path / "v3", day=84, specs=with_scanner("SN-B")), "wk12", site="S02")


@pytest.mark.parametrize("serial", ["000000", "XXXXX", "REMOVED"])
def test_machines_with_a_constant_serial_number_have_two_gates(judging, tmp_path, serial):
    trial, run = judging
    run("a1", with_scanner(serial, station="MR1"), study_uid="1.2.1")
    of_two = with_scanner(serial, station="MR2", software="syngo MR E11")
    with pytest.raises(ComplianceError, match="found no dummy run of this scanner"):
        ingest(trial, upload(tmp_path / "v1", specs=of_two), "wk00", site="S02")
    run("a2", of_two, study_uid="1.2.2")
    with opened(trial) as registry:
        assert [gate.state.value for gate in registry.scanner_gates.all("S02")] == ["accepted", "accepted"]


def test_a_scanner_of_an_earlier_version_keeps_its_gate(judging, tmp_path):
    """Earlier versions entered a scanner under the digest of serial number and station name, maker and model."""
    trial, run = judging

    def as_before(profile, known=()):
        return replace(scanner_facts(profile, known), serial_digest=profile.scanner_key)

    with mock.patch("reading_centre.use_cases.uploads.task.scanner_facts", as_before):
        run("a1", with_scanner("SN-A"))
    ingest(trial, upload(tmp_path / "v1", specs=with_scanner("SN-A")), "wk00", site="S02")
    with opened(trial) as registry:
        assert list(registry.scanner_gates.scanners()) == [1]
    new = with_scanner("SN-A", software="syngo MR E11")
    with pytest.raises(ComplianceError, match="found a dummy run with another software version"):
        ingest(trial, upload(tmp_path / "v2", day=28, specs=new), "wk04", site="S02")


def test_a_scanner_whose_station_was_a_placeholder_keeps_the_entry_of_an_earlier_version():
    header = Scanner("Maker", "Model", "v1", 3.0, "k", earlier_scanner_key="e")
    assert [scanner_facts(header, known).serial_digest for known in ((), {"e"}, {"k"}, {"k", "e"})] == [*"keke"]
    assert another_machine(header, replace(header, scanner_key="e", earlier_scanner_key="")) == ""
    other = replace(header, scanner_key="l", earlier_scanner_key="")
    assert another_machine(header, other) == "another serial number or station name"
    assert another_machine(replace(header, earlier_scanner_key=""), other) != ""


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"scanner_key": "l", "station_key": "t"}, ""),
        ({"serial_key": "b"}, "another serial number"),
        ({"manufacturer": "GE", "model": "Signa", "scanner_key": "l"}, "another manufacturer or model"),
        ({"manufacturer": "GE", "serial_key": "b", "scanner_key": "l"}, "another manufacturer or model"),
        ({"manufacturer": "MAKER Healthcare", "model": "Model X", "scanner_key": "l"}, ""),
        ({"manufacturer": "", "scanner_key": "l"}, ""),
        ({"scanner_key": "l", "serial_key": ""}, "a serial number at one of the visits only"),
        (
            {"scanner_key": "l", "serial_key": "", "station_key": "t"},
            "another serial number or station name",
        ),
        ({"scanner_key": "l", "serial_key": "", "model": "Other"}, "another manufacturer or model"),
        ({"software": "v2", "coil": "Neck"}, ""),
    ],
)
def test_the_serial_number_tells_the_machines_of_two_visits_apart(change, found):
    other = replace(HEADER, **change)
    assert another_machine(HEADER, other) == another_machine(other, HEADER) == found


def test_a_t1_from_another_scanner_is_noticed(judging, tmp_path):
    trial, run = judging
    flair, *rest = SMALL
    assert "flair" in flair.description
    run("a1", with_scanner("SN-A"), study_uid="1.2.1")
    mixed = (*with_scanner("SN-A", of=[flair]), *with_scanner("SN-B", of=rest))
    with pytest.raises(
        ComplianceError, match=r"T1w, T2w: expected an accepted dummy run .* found no dummy run of this scanner"
    ):
        ingest(trial, upload(tmp_path / "v1", specs=mixed), "wk00", site="S02")
    run("b1", with_scanner("SN-B"), study_uid="1.2.2")
    result = ingest(trial, upload(tmp_path / "v1", specs=mixed), "wk00", site="S02")
    assert "T1w: expected the scanner of the FLAIR, found another scanner" in result.queries
    with opened(trial) as registry:
        stored = [one for one in registry.measures.all() if one.visit]
        of_b = ["T1w", "T2w", "ce-gadolinium_T1w"]
        assert [(one.accepted, one.scanner, sorted(one.values)) for one in stored] == [
            (False, 1, ["FLAIR"]), (False, 2, of_b), (True, 1, ["FLAIR"]), (True, 2, of_b),
        ]  # fmt: skip
        assert registry.differences_from_audit() == []
    _, third = run("c1", mixed, study_uid="1.2.3")
    assert third.verdict == "accepted with queries"


@pytest.mark.parametrize(
    ("of_flair", "before", "now", "compared"),
    [("Head 20", "Head 64", "Head 64", True), ("Head 20", "Neck", "Head 20", False)],
)
def test_a_series_is_compared_with_earlier_ones_of_its_own_coil(
    judging, tmp_path, of_flair, before, now, compared
):
    trial, run = judging

    def made(serial, coil, of=SMALL):
        specs = with_scanner(serial, of=of)
        return tuple(replace(spec, extra={**spec.extra, "ReceiveCoilName": coil}) for spec in specs)

    flair, *rest = SMALL
    runs = {("SN-A", of_flair), ("SN-B", before), ("SN-B", now)}
    for number, (serial, coil) in enumerate(sorted(runs)):
        run(f"a{number}", made(serial, coil), study_uid=f"1.2.1.{number}")
    mixed = (*made("SN-A", of_flair, [flair]), *made("SN-B", before, rest))
    ingest(trial, upload(tmp_path / "v1", specs=mixed), "wk00", site="S02")
    with mock.patch("reading_centre.use_cases.uploads.visit_judgement.judge_change", return_value=[]) as judge:
        ingest(trial, upload(tmp_path / "v2", day=28, specs=made("SN-B", now)), "wk04", site="S02")
    earlier = judge.call_args.kwargs["earlier"]
    assert {name for values in earlier.values() for name in values} == (
        {"T1w", "T2w", "ce-gadolinium_T1w"} if compared else set()
    )


@pytest.mark.parametrize(
    ("other", "software"),
    [
        ({"serial": "SN-A", "station": "WORKSTATION1"}, "syngo MR B17"),
        ({"serial": "SN-A", "station": ""}, "syngo MR B17"),
        ({"serial": ""}, "syngo MR B17"),
        ({"serial": "", "station": ""}, "syngo MR B17"),
        ({"serial": "", "station": ""}, "syngo MR E11"),
    ],
)
def test_a_series_with_fewer_header_fields_may_be_of_the_same_scanner(judging, tmp_path, other, software):
    trial, run = judging
    flair, *rest = SMALL
    run("a1", with_scanner("SN-A"))
    mixed = (*with_scanner("SN-A", of=[flair]), *with_scanner(of=rest, software=software, **other))
    result = ingest(trial, upload(tmp_path / "v1", specs=mixed), "wk00", site="S02")
    assert any("another software version" in text for text in result.queries) is (software != "syngo MR B17")
    assert not any("another scanner" in text for text in result.queries)


HEADER = Scanner("Maker", "Model", "v1", 3.0, "k", "Head", serial_key="a", station_key="s")


@pytest.mark.parametrize(
    ("change", "found", "is_another"),
    [
        ({}, (), False),
        ({"station_key": "t"}, (), False),
        ({"serial_key": "", "station_key": "t"}, (), False),
        ({"manufacturer": "MAKER Healthineers"}, (), False),
        ({"serial_key": "b"}, ("scanner",), True),
        ({"manufacturer": "GE"}, ("scanner",), True),
        ({"serial_key": "", "model": "Other"}, ("scanner",), True),
        ({"software": "v2"}, ("software version",), True),
        ({"software": "v2", "derived": True}, (), False),
        ({"software": "v2", "serial_key": "", "station_key": ""}, ("software version",), False),
        ({"coil": "Neck"}, ("receive coil",), False),
        ({"field_strength_t": 1.5, "serial_key": ""}, ("field strength",), True),
    ],
)
def test_what_tells_the_scanners_of_two_series_apart(change, found, is_another):
    one = replace(HEADER, **change)
    assert differences(one, HEADER) == differences(HEADER, one) == found
    assert is_another_scanner(one, HEADER) is is_another
    no_serial = replace(HEADER, serial_key="")
    assert differences(no_serial, replace(no_serial, station_key="t")) == ("scanner",)


def test_one_message_for_all_series_of_another_scanner(judging, tmp_path):
    trial, run = judging
    flair, *rest = SMALL
    run("a1", with_scanner("SN-A"))
    mixed = (*with_scanner("SN-A", of=[flair]), *with_scanner("SN-B", of=rest))
    with pytest.raises(ComplianceError) as caught:
        ingest(trial, upload(tmp_path / "v1", specs=mixed), "wk00", site="S02")
    assert caught.value.message.count("expected an accepted dummy run") == 1


def test_a_person_decides_on_a_refused_dummy_run_while_the_gate_stands(judging):
    trial, run = judging
    persons(trial, 1)
    run("a1", with_scanner("SN-A"), study_uid="1.2.1")
    decide_dummy_run(trial.root, site="S02", accept=True, reason="good", by="QC 1")
    refusal = [Finding("snr", Action.REFUSE, "expected more signal, found noise", Contrast.FLAIR)]
    with (
        mock.patch("qc.acceptance.judge_images", return_value=refusal),
        pytest.raises(ComplianceError, match="found noise"),
    ):
        run("a2", with_scanner("SN-A"), study_uid="1.2.2")
    with opened(trial) as registry:
        (gate,) = registry.scanner_gates.all("S02")
        assert (gate.state, bool(gate.waiting_digest)) == (ScannerState.ACCEPTED, True)
        assert registry.site("S02").gate is Gate.ACCEPTED


def test_an_upgrade_that_renames_maker_and_model_closes_the_earlier_gate(judging):
    trial, run = judging

    def made(maker, model, software, serial="SN-A"):
        named = {"Manufacturer": maker, "ManufacturerModelName": model}
        specs = with_scanner(serial, software=software)
        return tuple(replace(spec, extra=spec.extra | named) for spec in specs)

    run("a1", made("SIEMENS", "Skyra", "VE11"), study_uid="1.2.1")
    run("a2", made("GE", "Signa", "DV26"), study_uid="1.2.2")
    with opened(trial) as registry:
        assert [gate.state.value for gate in registry.scanner_gates.all("S02")] == ["accepted", "accepted"]
    run("a3", made("Siemens Healthineers", "MAGNETOM Skyra", "XA30"), study_uid="1.2.3")
    with opened(trial) as registry:
        states = {gate.scanner.software: gate.state.value for gate in registry.scanner_gates.all("S02")}
        assert states == {"VE11": "closed", "DV26": "accepted", "XA30": "accepted"}
        assert registry.differences_from_audit() == []


@pytest.mark.parametrize(
    ("change", "known", "is_entry"),
    [
        ({"manufacturer": "MAKER Healthcare", "field_strength_t": 3.03}, [ONE], True),
        ({"field_strength_t": 3.03}, [ONE, replace(ONE, field_strength_t=3.02)], False),
        ({"field_strength_t": 3.03}, [replace(ONE, identified=False)], False),
        ({"field_strength_t": 2.9}, [ONE], False),
        ({"field_strength_t": 0.03}, [replace(ONE, field_strength_t=0.0)], False),
        ({"manufacturer": "Other"}, [ONE], False),
        ({"model": "Other"}, [ONE], False),
        ({"software": "v2"}, [ONE], False),
        ({"serial_key": "b"}, [ONE], False),
    ],
)
def test_another_spelling_of_the_headers_is_the_scanner_of_the_entry(change, known, is_entry):
    registry = mock.Mock()
    registry.scanner_gates.scanners.return_value = {n: ("S01", facts) for n, facts in enumerate(known)}
    task = UploadTask(Path(), mock.Mock(), mock.Mock(), registry, mock.Mock())
    profile = replace(HEADER, serial_key=ONE.serial_digest)
    assert task.scanner("S01", profile) == task.scanner("S02", profile) == ONE
    found = task.scanner("S01", replace(profile, **change))
    assert (found == known[0]) is is_entry
    assert task.scanner("S02", replace(profile, **change)) != known[0]


def test_a_series_of_a_workstation_does_not_keep_an_earlier_gate_open(judging):
    trial, run = judging
    flair, *rest = SMALL
    of_workstation = with_scanner("SN-A", software="v3", of=rest)
    run("a1", (*with_scanner("SN-A", software="v1", of=[flair]), *of_workstation), study_uid="1.2.1")
    for version in ("v2", "v3"):
        run(version, with_scanner("SN-A", software=version), study_uid=f"1.2.1.{version[1:]}")
    with opened(trial) as registry:
        gates = registry.scanner_gates.all("S02")
        assert {gate.scanner.software: gate.state.value for gate in gates} == {
            "v1": "closed", "v2": "closed", "v3": "accepted",
        }  # fmt: skip
        assert registry.differences_from_audit() == []


def test_machines_without_serial_number_do_not_close_each_other(judging):
    trial, run = judging
    run("a1", with_scanner("", station=""), study_uid="1.2.1")
    run("a2", with_scanner("", station="", software="syngo MR E11"), study_uid="1.2.2")
    with opened(trial) as registry:
        assert [gate.state.value for gate in registry.scanner_gates.all("S02")] == ["accepted", "accepted"]
        assert [gate.scanner.identified for gate in registry.scanner_gates.all("S02")] == [False, False]
    (page, _) = sorted(trial.reports.glob("dummy-run_S02_*.html"))
    assert "machines of one model are not told apart" in page.read_text()


def test_no_person_accepts_a_dummy_run_with_copied_slices(tmp_path, capsys):
    trial = new_trial(tmp_path / "trial")
    sent = factory.write_visit(tmp_path / "up", SMALL)
    command = ["dummy-run", str(trial.root), "--site", "S02"]
    assert cli.invoke([*command, str(sent)]) == 3
    assert cli.invoke([*command, "--decide", "accept", "--reason", "a", "--by", "QC 1"]) == 2
    assert "is refused by copied_scan, repeated_slices" in capsys.readouterr().err


def test_no_person_accepts_a_dummy_run_that_cannot_be_converted(tmp_path, capsys):
    trial = new_trial(tmp_path / "trial")
    with opened(trial) as registry:
        registry.record_dummy_run(
            "S02", accepted=False, upload_digest="d1", scanner=ONE, rules=["conversion"], findings=["no image"]
        )
    command = ["dummy-run", str(trial.root), "--site", "S02"]
    assert cli.invoke([*command, "--decide", "accept", "--reason", "a", "--by", "QC 1"]) == 2
    assert "is refused by conversion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--site", "S01"], "expected an upload, or --decide with --reason and --by"),
        (["UP", "--site", "S01", "--reason", "good"], "expected an upload, or --decide"),
        (
            ["UP", "--site", "S01", "--decide", "accept", "--reason", "a", "--by", "b"],
            "expected an upload or --decide, found both",
        ),
        (["--site", "S01", "--decide", "accept", "--reason", "a"], "expected a text as by"),
        (["--site", "S01", "--decide", "accept", "--reason", "a", "--by", "b"], "expected a dummy run of a known"),
    ],
)
def test_wrong_use_of_decide(tmp_path, capsys, arguments, message):
    trial = new_trial(tmp_path / "trial")
    assert cli.invoke(["dummy-run", str(trial.root), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_two_persons_decide_if_the_trial_says_so(tmp_path, capsys):
    trial = new_trial(tmp_path / "trial")
    trial.protocol_file.write_text(trial.protocol_file.read_text().replace("persons = 0", "persons = 2"))
    with opened(trial) as registry:
        registry.record_dummy_run("S02", accepted=True, upload_digest="d1", scanner=ONE, undecided=True)
    command = ["dummy-run", str(trial.root), "--site", "S02", "--decide", "accept", "--reason", "good", "--by"]
    assert cli.invoke([*command, "QC 1"]) == 0
    assert "a second person has to confirm it" in capsys.readouterr().out
    assert cli.invoke([*command, "qc 1"]) == 2
    assert cli.invoke([*command, "QC 2"]) == 0
    with opened(trial) as registry:
        assert registry.site("S02").gate is Gate.ACCEPTED
