"""Gates of scanners, decisions on dummy runs, and the measures of uploads."""

import datetime as dt
from dataclasses import replace

import pytest

from mri_pipeline.core.errors import GateClosedError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.registry import Gate, Registry, ScannerFacts, ScannerState
from mri_pipeline.registry.acceptances import RefusedUpload
from tests.unit.registry_steps import withdraw_scan

ONE = ScannerFacts("Maker", "Model", "v1", 3.0, "ab" * 8)
UPGRADED = ScannerFacts("Maker", "Model", "v2", 3.0, "ab" * 8)
OTHER = ScannerFacts("Maker", "Model", "v1", 3.0, "cd" * 8)
GOOD = {"FLAIR": {"snr": 30.0}}
CODE = "BCDF2345"
TODAY = dt.datetime.now(dt.UTC).date().toordinal()


@pytest.fixture
def registry(tmp_path):
    with Registry.open(Trial(tmp_path), parse_protocol(protocol_text())) as opened:
        yield opened
        assert opened.differences_from_audit() == []


def judged(registry, scanner, digest, *, accepted=True, **more):
    registry.record_dummy_run("S01", accepted=accepted, upload_digest=digest, scanner=scanner, **more)


def states(registry):
    return [(gate.scanner, gate.coil, gate.state.value) for gate in registry.scanner_gates.all("S01")]


def decide(registry, *, accept, persons=1, by="QC 1", final=(), **which):
    return registry.scanner_gates.decide(
        "S01", accept=accept, reason="seen on the console", by=by, persons=persons, final=final, **which
    )


def test_a_refused_scanner_closes_no_other_gate(registry):
    judged(registry, ONE, "d1", coil="Head")
    judged(registry, OTHER, "d2", accepted=False, coil="Head", rules=["snr", "snr", "gap"])
    assert states(registry) == [(ONE, "Head", "accepted"), (OTHER, "Head", "refused")]
    assert registry.scanner_gates.all()[1].rules == ("gap", "snr")
    registry.require_open_gate("S01")
    judged(registry, ONE, "d3", accepted=False, coil="Head")
    assert registry.site("S01").gate is Gate.REFUSED


def test_a_refused_scanner_does_not_close_the_gate_of_a_dummy_run_that_states_none(registry):
    judged(registry, None, "d1")
    judged(registry, ONE, "d2", accepted=False)
    assert registry.site("S01").gate is Gate.ACCEPTED
    judged(registry, ONE, "d3")
    decide(registry, accept=False)
    assert registry.site("S01").gate is Gate.ACCEPTED
    judged(registry, None, "d4", accepted=False)
    assert registry.site("S01").gate is Gate.REFUSED


def test_another_coil_has_a_gate_of_its_own(registry):
    judged(registry, ONE, "d1", coil="Head 20")
    judged(registry, ONE, "d2", accepted=False, coil="Head 64")
    assert [state for _, _, state in states(registry)] == ["accepted", "refused"]
    assert registry.scanner_gates.all("S02") == []


def test_a_verdict_that_names_the_coil_supersedes_the_gate_without_one(registry):
    judged(registry, ONE, "d1")
    judged(registry, OTHER, "d2", accepted=False)
    judged(registry, ONE, "d3", coil="Head", undecided=True)
    assert [state for *_, state in states(registry)] == ["accepted", "undecided", "refused"]
    assert registry.site("S01").gate is Gate.ACCEPTED  # no verdict yet
    decide(registry, accept=False)
    assert [state for *_, state in states(registry)] == ["superseded", "refused", "refused"]
    assert registry.site("S01").gate is Gate.REFUSED
    judged(registry, ONE, "d4")
    judged(registry, ONE, "d5", coil="Head")
    assert [state for *_, state in states(registry)] == ["superseded", "accepted", "refused"]


def test_an_accepted_dummy_run_after_an_upgrade_closes_the_earlier_gate(registry):
    judged(registry, ONE, "d1", coil="Head")
    judged(registry, OTHER, "d2", coil="Head")
    judged(registry, UPGRADED, "d3", accepted=False, coil="Head")
    assert [state for *_, state in states(registry)] == ["accepted", "accepted", "refused"]
    judged(registry, UPGRADED, "d4", coil="Head")
    assert [state for *_, state in states(registry)] == ["closed", "accepted", "accepted"]
    closed = registry.scanner_gates.all()[0]
    assert closed.reason == "the scanner has software v2"
    assert dt.datetime.fromisoformat(closed.at).date() == dt.datetime.now(dt.UTC).date()
    registry.require_open_gate("S01")


def test_only_a_scan_later_than_the_dummy_run_shows_an_upgrade(registry):
    judged(registry, ONE, "d1", coil="Head")
    for day in (TODAY - 30, TODAY):
        registry.scanner_gates.close_earlier("S01", UPGRADED, day=day)
    for unchanged in (ONE, OTHER, ScannerFacts("Maker", "Model", "", 3.0, "ab" * 8)):
        registry.scanner_gates.close_earlier("S01", unchanged, day=None)
    registry.scanner_gates.close_earlier("S02", UPGRADED, day=None)
    assert states(registry) == [(ONE, "Head", "accepted")]
    registry.scanner_gates.close_earlier("S01", UPGRADED, day=TODAY + 1)
    assert states(registry) == [(ONE, "Head", "closed")]
    assert registry.site("S01").gate is Gate.ACCEPTED  # scans of before the upgrade may come still


def test_a_version_of_before_is_no_upgrade(registry):
    judged(registry, ONE, "d1", coil="Head")
    judged(registry, UPGRADED, "d2", coil="Head")
    registry.scanner_gates.close_earlier("S01", ONE, day=TODAY + 1)
    assert [state for *_, state in states(registry)] == ["closed", "accepted"]
    judged(registry, ONE, "d3", coil="Head", accepted=False)  # known as earlier, although it is not closed
    registry.scanner_gates.close_earlier("S01", ONE, day=TODAY + 1)
    judged(registry, ONE, "d4", coil="Head")
    assert [state for *_, state in states(registry)] == ["accepted", "accepted"]
    registry.scanner_gates.close_earlier("S01", replace(UPGRADED, software="v3"), day=TODAY + 1)
    assert [state for *_, state in states(registry)] == ["closed", "closed"]


def test_a_person_decides_against_the_limits(registry):
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    gate = decide(registry, accept=True, final={"field_strength"})
    assert (gate.state, gate.by, gate.reason) == (ScannerState.ACCEPTED, "QC 1", "seen on the console")
    registry.require_open_gate("S01")
    decide(registry, accept=False, by="QC 2")
    assert registry.site("S01").gate is Gate.REFUSED
    entries = registry.audit_entries("scanner gate set")
    assert [entry.reader for entry in entries] == ["", "QC 1", "QC 2"]


def test_a_decision_on_a_dummy_run_stands_until_a_person_changes_it(registry):
    judged(registry, ONE, "d1")
    decide(registry, accept=False)
    judged(registry, ONE, "d1")
    assert registry.site("S01").gate is Gate.REFUSED
    judged(registry, ONE, "d1", undecided=True)
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.by, gate.reason) == (ScannerState.REFUSED, "QC 1", "seen on the console")
    decide(registry, accept=True, persons=2)
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.proposed, gate.rules) == (ScannerState.REFUSED, "accepted", ("snr",))
    decide(registry, accept=True, persons=2, by="QC 2")
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    assert registry.site("S01").gate is Gate.ACCEPTED


def test_a_dummy_run_is_not_judged_again_after_a_later_one(registry):
    judged(registry, ONE, "d1")
    judged(registry, ONE, "d2", accepted=False)
    for received in ("", "2100-01-01T00:00:00+00:00"):
        with pytest.raises(UsageError, match="found an earlier one than the one that was judged last"):
            judged(registry, ONE, "d1", received=received)
    assert states(registry) == [(ONE, "", "refused")]
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        judged(registry, ONE, "d0", received="2020-01-01T00:00:00+00:00")
    judged(registry, ONE, "d2")
    assert states(registry) == [(ONE, "", "accepted")]


def test_the_order_of_dummy_runs_is_that_of_one_scanner_and_coil(registry):
    received = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)).isoformat()
    judged(registry, ONE, "d1", coil="Head")
    for scanner, digest, coil in ((OTHER, "d2", "Head"), (ONE, "d3", "Knee"), (UPGRADED, "d4", "Head")):
        judged(registry, scanner, digest, coil=coil, received=received)
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        judged(registry, None, "d5", accepted=False, received=received)
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        judged(registry, ONE, "d6", coil="Head", received=received)
    assert [state for *_, state in states(registry)] == ["closed", "closed", "accepted", "accepted"]


def test_a_dummy_run_that_was_received_after_the_first_verdict_on_another_is_later(registry):
    judged(registry, ONE, "d1", accepted=False)
    received = dt.datetime.now(dt.UTC).isoformat()
    judged(registry, ONE, "d1", accepted=False)  # judged again, by other limits
    judged(registry, ONE, "d2", received=received)
    assert states(registry) == [(ONE, "", "accepted")]


def test_an_accepted_gate_stands_until_the_new_dummy_run_is_decided_on(registry):
    judged(registry, ONE, "d1", undecided=True, measures=GOOD)
    first = decide(registry, accept=True)
    judged(registry, ONE, "d2", undecided=True, measures={"FLAIR": {"snr": 9.0}})
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.dummy_run_digest, gate.waiting_digest) == (ScannerState.ACCEPTED, "d1", "d2")
    assert (gate.at, gate.by, gate.reason, gate.latest_digest) == (first.at, "QC 1", "seen on the console", "d2")
    registry.require_open_gate("S01")
    assert registry.measures.of_dummy_run("S01", ONE).values == GOOD
    assert judged_state(registry, "d2", undecided=True) is ScannerState.UNDECIDED
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        judged(registry, ONE, "d1", undecided=True)
    gate = decide(registry, accept=False, by="QC 2")
    assert (gate.state, gate.dummy_run_digest, gate.waiting_digest) == (ScannerState.REFUSED, "d2", "")
    assert registry.site("S01").gate is Gate.REFUSED
    judged(registry, ONE, "d3", undecided=True)
    assert states(registry) == [(ONE, "", "undecided")]  # no accepted gate stands
    gate = decide(registry, accept=True)
    assert (gate.state, gate.dummy_run_digest) == (ScannerState.ACCEPTED, "d3")
    judged(registry, ONE, "d4", undecided=True)
    judged(registry, ONE, "d5", accepted=False)
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.dummy_run_digest, gate.waiting_digest) == (ScannerState.REFUSED, "d5", "")


def judged_state(registry, digest, **more):
    return registry.record_dummy_run("S01", upload_digest=digest, scanner=ONE, **{"accepted": True, **more})


def test_two_persons_decide_on_a_dummy_run_beside_an_accepted_gate(registry):
    judged(registry, ONE, "d1")
    judged(registry, ONE, "d2", undecided=True)
    gate = decide(registry, accept=True, persons=2)
    assert (gate.state, gate.proposed, gate.waiting_digest) == (ScannerState.ACCEPTED, "accepted", "d2")
    judged(registry, ONE, "d2", undecided=True)  # judged again: the proposal stands
    (gate,) = registry.scanner_gates.all()
    assert (gate.proposed, gate.proposed_by, gate.waiting_digest) == ("accepted", "QC 1", "d2")
    gate = decide(registry, accept=True, persons=2, by="QC 2")
    assert (gate.dummy_run_digest, gate.waiting_digest, gate.by) == ("d2", "", "QC 2")
    assert judged_state(registry, "d2", undecided=True) is ScannerState.ACCEPTED
    assert states(registry) == [(ONE, "", "accepted")]


def test_the_same_dummy_run_opens_no_gate_that_an_upgrade_closed(registry):
    judged(registry, ONE, "d1", coil="Head")
    decide(registry, accept=True)
    judged(registry, UPGRADED, "d2", coil="Head")
    closed = registry.scanner_gates.all()[0]
    for more in ({}, {"undecided": True}, {"accepted": False}):
        assert judged_state(registry, "d1", coil="Head", **more) is ScannerState.CLOSED
        assert registry.scanner_gates.all()[0].at == closed.at
    assert [state for *_, state in states(registry)] == ["closed", "accepted"]
    assert judged_state(registry, "d1", coil="Head", accepted=False, rules=["gap"], final=["gap"]) is (
        ScannerState.REFUSED
    )


def test_the_same_dummy_run_closes_no_version_that_was_opened_again(registry):
    judged(registry, ONE, "d1")
    judged(registry, UPGRADED, "d2")
    judged(registry, ONE, "d3")  # a downgrade
    judged(registry, UPGRADED, "d2")
    assert [state for *_, state in states(registry)] == ["accepted", "accepted"]


def test_the_same_dummy_run_does_not_restore_a_superseded_gate(registry):
    judged(registry, ONE, "d1")
    judged(registry, ONE, "d2", coil="Head", accepted=False)
    assert judged_state(registry, "d1") is ScannerState.SUPERSEDED
    assert [state for *_, state in states(registry)] == ["superseded", "refused"]
    assert registry.site("S01").gate is Gate.REFUSED


def test_machines_without_a_serial_number_close_no_gates_of_each_other(registry):
    one, other = (replace(facts, identified=False) for facts in (ONE, UPGRADED))
    judged(registry, one, "d1")
    judged(registry, other, "d2")
    registry.scanner_gates.close_earlier("S01", replace(other, software="v3"), day=TODAY + 1)
    decide(registry, accept=False, scanner=2)
    decide(registry, accept=True, scanner=2)
    assert [state for *_, state in states(registry)] == ["accepted", "accepted"]
    assert [facts.identified for _, facts in registry.scanner_gates.scanners().values()] == [False, False]


def test_a_scanner_of_an_earlier_layout_is_entered_again_once_it_is_identified(registry):
    judged(registry, replace(ONE, identified=False), "d1")
    judged(registry, ONE, "d2")
    judged(registry, replace(ONE, identified=False), "d3")
    ((_, facts),) = registry.scanner_gates.scanners().values()
    assert facts.identified is True
    assert len(registry.audit_entries("scanner entered")) == 2


def test_a_dummy_run_without_scanner_facts_is_decided_on(registry):
    judged(registry, None, "d1", undecided=True)
    assert registry.site("S01").gate is Gate.UNDECIDED
    gate = decide(registry, accept=True, persons=2)
    assert (gate.scanner, gate.state) == (ScannerFacts(), ScannerState.UNDECIDED)
    decide(registry, accept=True, persons=2, by="QC 2")
    registry.require_open_gate("S01")
    decide(registry, accept=False)
    assert registry.site("S01").gate is Gate.REFUSED


def test_a_decision_does_not_lock_out_an_upload_that_was_received_before_it(registry):
    judged(registry, ONE, "d1", undecided=True)
    received = dt.datetime.now(dt.UTC).isoformat()
    decide(registry, accept=True)
    judged(registry, OTHER, "d2", received=received)
    assert [state for *_, state in states(registry)] == ["accepted", "accepted"]


def test_some_rules_are_not_overruled(registry):
    judged(registry, ONE, "d1", accepted=False, rules=["snr", "field_strength"])
    with pytest.raises(UsageError, match="found a dummy run that is refused by field_strength"):
        decide(registry, accept=True, final={"field_strength", "sequence"})
    assert states(registry) == [(ONE, "", "refused")]


@pytest.mark.requirement("INTAKE-02")
def test_a_gate_that_waits_for_a_decision_is_not_open(registry):
    judged(registry, ONE, "d1", undecided=True)
    assert registry.site("S01").gate is Gate.UNDECIDED
    with pytest.raises(GateClosedError, match="found a dummy run that nobody has decided on"):
        registry.require_open_gate("S01")
    decide(registry, accept=True)
    registry.require_open_gate("S01")


def test_each_dummy_run_that_waits_can_be_decided_on(registry):
    judged(registry, ONE, "d1", coil="Head", undecided=True)
    judged(registry, OTHER, "d2", coil="Head", undecided=True)
    with pytest.raises(
        UsageError, match=r"scanner 1 \(Maker Model v1, coil Head, upload d1\): undecided; scanner 2"
    ):
        decide(registry, accept=True)
    decide(registry, accept=False, scanner=2)
    assert registry.site("S01").gate is Gate.UNDECIDED
    judged(registry, None, "d3", accepted=False)  # cannot be read
    assert registry.site("S01").gate is Gate.UNDECIDED
    assert decide(registry, accept=True).number == 1
    assert [state for *_, state in states(registry)] == ["accepted", "refused"]
    with pytest.raises(UsageError, match=r"scanner 1 .*: accepted; scanner 2 .*: refused"):
        decide(registry, accept=False)
    assert decide(registry, accept=True, scanner=2, coil="Head").state is ScannerState.ACCEPTED
    with pytest.raises(UsageError, match="found none"):
        decide(registry, accept=True, scanner=2, coil="")


def test_a_second_person_confirms(registry):
    judged(registry, ONE, "d1", undecided=True)
    gate = decide(registry, accept=True, persons=2)
    assert (gate.state, gate.proposed, gate.proposed_by) == (ScannerState.UNDECIDED, "accepted", "QC 1")
    with pytest.raises(UsageError, match="expected the confirmation of a second person"):
        decide(registry, accept=True, persons=2, by=" qc  1")
    assert registry.site("S01").gate is Gate.UNDECIDED
    gate = decide(registry, accept=True, persons=2, by="QC 2")
    assert (gate.state, gate.proposed, gate.proposed_by, gate.by) == (ScannerState.ACCEPTED, "", "QC 1", "QC 2")
    registry.require_open_gate("S01")


def test_a_decision_that_nobody_has_confirmed_is_no_decision(registry):
    judged(registry, ONE, "d1")
    decide(registry, accept=False, persons=2)
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    assert [(gate.state, gate.proposed) for gate in registry.scanner_gates.all("S01")] == [
        (ScannerState.REFUSED, "refused")
    ]
    judged(registry, ONE, "d1", undecided=True)
    decide(registry, accept=True, persons=2)
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    assert states(registry) == [(ONE, "", "refused")]  # the proposal to accept keeps nothing open
    decide(registry, accept=True, persons=2, by="QC 2")
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    assert states(registry) == [(ONE, "", "accepted")]  # two persons have decided


def refused_upload(registry, digest, site="S01"):
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    registry.record_refusal(site, reason="identity", upload_digest=digest)
    return RefusedUpload(site, digest, dummy_run=True, refused=now)


def accepted_as(registry, upload):
    (found,) = registry.releases.accepted_as([upload])
    return found


def test_an_acceptance_after_a_refusal_is_found_though_the_gate_was_open_before(registry):
    judged(registry, ONE, "d1")
    upload = refused_upload(registry, "d1")
    assert accepted_as(registry, upload) is None
    judged(registry, ONE, "d2", undecided=True)  # an entry with the state of the accepted gate
    assert accepted_as(registry, upload) is None


def test_a_dummy_run_that_waits_for_a_decision_again_is_not_accepted(registry):
    judged(registry, ONE, "d1")
    upload = refused_upload(registry, "d1")
    judged(registry, ONE, "d1", undecided=True)
    assert registry.scanner_gates.all("S01")[0].waiting_digest == "d1"
    assert accepted_as(registry, upload) is None
    decide(registry, accept=True)
    assert accepted_as(registry, upload) == ""


def test_the_latest_verdict_on_a_refused_dummy_run_counts(registry):
    judged(registry, ONE, "d1", accepted=False, rules=["snr"])
    upload = refused_upload(registry, "d1")
    decide(registry, accept=True)
    assert accepted_as(registry, upload) == ""
    assert accepted_as(registry, replace(upload, site="S02")) is None
    decide(registry, accept=False, by="QC 2")
    assert accepted_as(registry, upload) is None
    judged(registry, OTHER, "d2")
    again = refused_upload(registry, "d2")
    judged(registry, OTHER, "d2")  # accepted again, without a change of the state
    assert accepted_as(registry, again) == ""


def test_another_decision_of_a_second_person_is_a_proposal_of_its_own(registry):
    judged(registry, ONE, "d1", undecided=True)
    decide(registry, accept=True, persons=2)
    gate = decide(registry, accept=False, persons=2, by="QC 2")
    assert (gate.proposed, gate.proposed_by, gate.state) == ("refused", "QC 2", ScannerState.UNDECIDED)
    judged(registry, ONE, "d2", undecided=True)  # a new dummy run asks anew
    assert registry.scanner_gates.all()[0].proposed == ""


def test_only_a_dummy_run_of_a_known_scanner_is_decided_on(registry):
    with pytest.raises(UsageError, match="expected a dummy run of a known scanner, found none"):
        decide(registry, accept=True)
    judged(registry, None, "d1", accepted=False)
    with pytest.raises(UsageError, match="expected a dummy run of a known scanner, found none"):
        decide(registry, accept=True)
    judged(registry, ONE, "d2", accepted=False)
    for reason, by in (("", "QC"), ("blurred", " ")):
        with pytest.raises(UsageError, match="expected a text as"):
            registry.scanner_gates.decide("S01", accept=True, reason=reason, by=by, persons=1, final=())


def test_measures_of_a_dummy_run_are_those_that_opened_the_gate(registry):
    assert registry.measures.of_dummy_run("S01", ONE) is None
    judged(registry, ONE, "d1", accepted=False, measures={"FLAIR": {"snr": 8.0}})
    assert registry.measures.of_dummy_run("S01", ONE) is None
    decide(registry, accept=True)
    assert registry.measures.of_dummy_run("S01", ONE).values == {"FLAIR": {"snr": 8.0}}
    judged(registry, ONE, "d2", measures=GOOD)
    assert registry.measures.of_dummy_run("S01", ONE).values == GOOD
    assert registry.measures.of_dummy_run("S01", OTHER) is None
    assert registry.measures.of_dummy_run("S02", ONE) is None
    assert [(m.accepted, m.upload_digest, m.scanner) for m in registry.measures.all()] == [
        (False, "d1", 1), (True, "d2", 1),
    ]  # fmt: skip


def test_measures_of_a_subject_are_those_of_its_present_scans(registry):
    def enter(visit, digest, snr, **more):
        registry.record_scan(
            CODE, visit, site="S01", upload_digest=digest, scanner=ONE, measures={"FLAIR": {"snr": snr}}, **more
        )

    enter("wk00", "u1", 30.0)
    enter("wk04", "u2", 31.0)
    enter("wk12", "u3", 32.0)
    registry.measures.enter_refused(
        GOOD, site="S01", scanner=OTHER, upload_digest="u4", subject=CODE, visit="wk24"
    )
    registry.measures.enter_refused({}, site="S01", scanner=None, upload_digest="u5", subject=CODE, visit="wk24")
    enter("wk04", "u6", 33.0, replace_because="blurred")
    withdraw_scan(registry, CODE, "wk12", reason="consent")
    found = registry.measures.of_subject(CODE)
    assert {visit: [one.values["FLAIR"]["snr"] for one in stored] for visit, stored in found.items()} == {
        "wk00": [30.0],
        "wk04": [33.0],
    }
    assert [m.upload_digest for m in registry.measures.all()] == ["u1", "u2", "u3", "u4", "u6"]
    assert registry.measures.all()[3].accepted is False
    assert registry.scanner_gates.scanners() == {1: ("S01", ONE), 2: ("S01", OTHER)}


def test_measures_are_entered_under_the_scanner_of_their_series(registry):
    def enter(snr, **more):
        registry.record_scan(
            CODE, "wk00", site="S01", upload_digest="u1", scanner=ONE, measures={"FLAIR": {"snr": snr}},
            measures_elsewhere={OTHER: {"T1w": {"snr": snr + 1}}}, **more,
        )  # fmt: skip

    enter(30.0)
    enter(40.0, replace_because="measured again")
    registry.measures.enter_refused(
        {}, site="S01", scanner=ONE, upload_digest="u2", subject=CODE, visit="wk04",
        elsewhere={OTHER: {"T1w": {"snr": 5.0}}},
    )  # fmt: skip
    judged(
        registry, ONE, "d1", measures={"FLAIR": {"snr": 50.0}}, measures_elsewhere={OTHER: {"T1w": {"snr": 51.0}}}
    )
    scanners = registry.scanner_gates.scanners()
    assert {number: facts for number, (_, facts) in scanners.items()} == {1: ONE, 2: OTHER}
    assert [(one.scanner, one.values) for one in registry.measures.of_subject(CODE)["wk00"]] == [
        (1, {"FLAIR": {"snr": 40.0}}), (2, {"T1w": {"snr": 41.0}}),
    ]  # fmt: skip
    assert [(one.upload_digest, one.scanner, one.accepted) for one in registry.measures.all()] == [
        ("u1", 1, True), ("u1", 2, True), ("u1", 1, True), ("u1", 2, True), ("u2", 2, False), ("d1", 1, True),
        ("d1", 2, True),
    ]  # fmt: skip
    assert registry.measures.of_dummy_run("S01", ONE).values == {"FLAIR": {"snr": 50.0}}
    assert registry.measures.of_dummy_run("S01", OTHER) is None
    assert registry.differences_from_audit() == []


def test_the_reference_of_a_coil_is_its_own_dummy_run(registry):
    judged(registry, ONE, "d1", coil="Head", measures={"FLAIR": {"snr": 30.0}})
    judged(registry, ONE, "d2", coil="Knee", measures={"FLAIR": {"snr": 9.0}})
    of_dummy_run = registry.measures.of_dummy_run
    found = {coil: of_dummy_run("S01", ONE, coil).upload_digest for coil in ("Head", "Knee", "")}
    assert found == {"Head": "d1", "Knee": "d2", "": "d2"}
    assert of_dummy_run("S01", ONE, "Neck") is None
    judged(registry, ONE, "d3", measures={"FLAIR": {"snr": 8.0}})
    assert of_dummy_run("S01", ONE, "Neck").upload_digest == "d3"


def test_a_decision_does_not_overrule_what_no_person_overrules(registry):
    """The same upload is judged again, by another limit or software."""
    judged(registry, ONE, "d1", accepted=False, rules=["snr"], final=["field_strength"])
    decide(registry, accept=True, final=["field_strength"])
    assert states(registry) == [(ONE, "", "accepted")]
    judged(registry, ONE, "d1", accepted=False, rules=["snr"], final=["field_strength"])
    assert states(registry) == [(ONE, "", "accepted")]
    judged(registry, ONE, "d1", accepted=False, rules=["field_strength"], final=["field_strength"])
    assert states(registry) == [(ONE, "", "refused")]
    assert registry.site("S01").gate is Gate.REFUSED


def test_only_a_change_of_the_gate_of_a_coil_supersedes_the_gate_without_one(registry):
    judged(registry, ONE, "d1", coil="Head")
    judged(registry, ONE, "d2")
    judged(registry, ONE, "d1", coil="Head")  # an older dummy run, judged again
    judged(registry, ONE, "d3", coil="Head", undecided=True)  # nobody has decided on it
    assert states(registry) == [(ONE, "", "accepted"), (ONE, "Head", "accepted")]
    decide(registry, accept=True)
    assert states(registry) == [(ONE, "", "superseded"), (ONE, "Head", "accepted")]


@pytest.mark.parametrize("persons", [0, 1])
def test_a_dummy_run_of_a_coil_before_that_without_one_supersedes_nothing(registry, persons):
    received = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)).isoformat()
    if persons:
        judged(registry, ONE, "d1", coil="Head", undecided=True)
        judged(registry, ONE, "d2")
        decide(registry, accept=True)
    else:
        judged(registry, ONE, "d2")
        judged(registry, ONE, "d1", coil="Head", received=received)
    assert states(registry) == [(ONE, "", "accepted"), (ONE, "Head", "accepted")]


def test_a_dummy_run_without_scanner_facts_is_refused_again(registry):
    judged(registry, None, "d1", undecided=True)
    decide(registry, accept=True)
    judged(registry, None, "d2", accepted=False, undecided=True)
    assert registry.site("S01").gate is Gate.ACCEPTED  # a person has to decide
    decide(registry, accept=False)
    assert registry.site("S01").gate is Gate.REFUSED
    judged(registry, None, "d3")
    assert registry.site("S01").gate is Gate.ACCEPTED
    judged(registry, None, "d4", accepted=False)
    assert registry.site("S01").gate is Gate.REFUSED


@pytest.mark.parametrize("accepted", [True, False])
def test_a_person_refuses_a_dummy_run_without_scanner_facts_after_the_limits_accepted_one(registry, accepted):
    judged(registry, None, "d1")
    judged(registry, None, "d2", accepted=accepted, undecided=True)
    assert registry.site("S01").gate is Gate.ACCEPTED
    decide(registry, accept=False)
    assert registry.site("S01").gate is Gate.REFUSED


def test_an_accepted_gate_stands_while_a_person_has_to_decide_on_a_refused_dummy_run(registry):
    judged(registry, ONE, "d1", undecided=True)
    decide(registry, accept=True)
    assert judged_state(registry, "d2", accepted=False, undecided=True, rules=["snr"]) is ScannerState.UNDECIDED
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.dummy_run_digest, gate.waiting_digest) == (ScannerState.ACCEPTED, "d1", "d2")
    assert registry.site("S01").gate is Gate.ACCEPTED
    assert decide(registry, accept=False).state is ScannerState.REFUSED
    assert registry.site("S01").gate is Gate.REFUSED
    assert judged_state(registry, "d2", accepted=False, undecided=True, rules=["snr"]) is ScannerState.REFUSED


def test_a_dummy_run_of_before_an_upgrade_does_not_open_the_gate_again(registry):
    judged(registry, ONE, "d1")
    judged(registry, ONE, "d2", undecided=True)
    judged(registry, UPGRADED, "d3")
    closed = registry.scanner_gates.all()[0]
    assert (closed.state, closed.waiting_digest) == (ScannerState.CLOSED, "")
    with pytest.raises(UsageError, match="expected its latest dummy run"):
        judged(registry, ONE, "d2", undecided=True)


def test_a_proposal_keeps_the_reason_of_the_standing_gate(registry):
    judged(registry, ONE, "d1", undecided=True)
    decide(registry, accept=True)
    judged(registry, ONE, "d2", undecided=True)
    registry.scanner_gates.decide("S01", accept=False, reason="blurred", by="QC 2", persons=2, final=())
    (gate,) = registry.scanner_gates.all()
    assert (gate.state, gate.by, gate.reason) == (ScannerState.ACCEPTED, "QC 1", "seen on the console")
    (*_, entry) = registry.audit_entries("scanner gate set")
    assert entry.details["proposed_reason"] == "blurred"


def test_machines_without_a_serial_number_do_not_end_dummy_runs_of_each_other(registry):
    one = replace(ONE, identified=False)
    judged(registry, one, "d1")
    judged(registry, one, "d2", accepted=False)
    judged(registry, one, "d1")
    assert states(registry) == [(ONE, "", "accepted")]
