"""Adjudication in the browser: both reads as A and B, and the same read as by export and import."""

import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.record import ReadPurpose
from mri_pipeline.reading.store import load_read
from mri_pipeline.reading.worklist import reading_code
from mri_pipeline.registry.assignment_records import AssignmentState
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import Proof, statement_of, unlock_read
from reading_centre.use_cases.reading.signature import finish_signed
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.audit_verify import verify_trial
from reading_centre.web import reading_api
from reading_centre.web.app import create_app
from tests.unit.reading_trial import (
    copy_of,
    decide,
    edit_protocol,
    lesions_but_no_holes,
    opened,
    rows_of,
    visits_of,
    write_rows,
)
from tests.unit.test_web_access import endpoints
from tests.unit.test_web_baseline import BODY, FORM, HEADERS, JSON, SEGMENT, TEXT
from tests.unit.web_trial import PASSWORDS, Desk, browser, opened_room, write_web_trial

SUBJECT = "BENCH000"
READERS = ("R1", "R2")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A trial whose two readers disagree on every visit: one has no GEL, and each has T2 lesions of its own."""
    trial = write_web_trial(tmp_path_factory.mktemp("web") / "trial")
    edit_protocol(trial, "readers = 1", "readers = 2")
    out = trial.root.parent / "worklist"
    export_reads(trial.root, out)
    shutil.copytree(out, out.with_name("second"))
    import_reads(trial.root, decide(out, without_gel), reader="R1")
    import_reads(trial.root, decide(out.with_name("second"), without_the_first_lesion), reader="R2")
    return trial


def without_gel(code, row):
    return "reject" if row["type"] == "GEL" else lesions_but_no_holes(code, row)


def without_the_first_lesion(code, row):
    return "reject" if (row["type"], row["lesion"]) == ("T2", "1") else lesions_but_no_holes(code, row)


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


@pytest.fixture
def room(trial):
    with opened_room(trial) as room:
        yield room


def desk_of(room, visit, reader="ADJ"):
    client = browser(room, reader)
    client.get("/")
    (own,) = [a for a in room.worklists.of(reader) if a.visit == visit and a.state.value == "open"]
    desk = Desk(client, own.code)
    desk.lease()
    return desk


@pytest.fixture
def desk(room):
    return desk_of(room, "wk04")


def outlines(desk, name, kind):
    return desk.drawn(f"reads/{name}/{kind}")


def asked(desk):
    return [lesion for lesion in desk.case["lesions"] if lesion["proposed"] and not lesion["settled"]]


def take(desk, lesion, name):
    """What the page does: the outline of a read becomes that of the lesion, or the lesion is rejected."""
    kind, number = lesion["kind"], lesion["number"]
    present = desk.labels(kind).ravel(order="F")
    wanted = outlines(desk, name, kind).ravel(order="F") == number
    next_number = desk.case["next_number"]
    if wanted.any():
        runs = [[int(i), 1, number, 0] for i in np.flatnonzero((present == number) & ~wanted)]
        runs += [[int(i), 1, int(present[i]), number] for i in np.flatnonzero(wanted & (present != number))]
        if runs:
            assert desk.do(next_number, op="voxels", kind=kind, runs=runs).status_code == 200
            next_number += 1
    answer = desk.decide(lesion, "accept" if wanted.any() else "reject", next_number)
    assert answer.status_code == 200, answer.text


def sign(desk, reader="ADJ"):
    summary = desk.get("summary").json()
    return desk.post("sign", {"login": reader, "password": PASSWORDS[reader], "seen": summary["seen"]})


def by_file(trial, tmp_path, word, comment=""):
    """The same decisions by export and import."""
    export_reads(trial.root, tmp_path / "dispute", reader="ADJ")
    for item in rows_of(tmp_path / "dispute" / "worklist.csv"):
        path = tmp_path / "dispute" / "items" / item["reading_code"] / "lesions.csv"
        rows = rows_of(path)
        write_rows(path, [row | {"decision": word, "comment": comment} for row in rows])
    import_reads(trial.root, tmp_path / "dispute", reader="ADJ")


def test_the_adjudicator_sees_both_reads_and_what_they_differ_in(trial, desk):
    case = desk.case
    assert any("GEL seen by one reader alone" in text for text in case["adjudication"]["differs_in"])
    assert [(pane["volume"], pane["read"]) for pane in case["panes"] if pane["volume"] == "flair"] == [
        ("flair", None), ("flair", "A"), ("flair", "B"),
    ]  # fmt: skip
    present = desk.labels("T2") + desk.labels("GEL").astype(int)
    masks = {name: {kind: outlines(desk, name, kind) for kind in ("T2", "GEL")} for name in "AB"}
    assert ((masks["A"]["T2"] | masks["B"]["T2"]) == desk.labels("T2")).all()
    assert present.any()
    read = {reader: load_read(trial.reads, SUBJECT, "wk04", reader, 1).masks for reader in READERS}
    voxels = {reader: (own.t2_lesions.mask.sum(), own.gel.mask.sum()) for reader, own in read.items()}
    shown = {name: tuple(np.count_nonzero(mask) for mask in own.values()) for name, own in masks.items()}
    assert sorted(shown.values()) == sorted(voxels.values())
    for lesion in case["lesions"]:
        if lesion["kind"] != "BH":
            assert lesion["seen_by"] == [
                name for name in "AB" if (masks[name][lesion["kind"]] == lesion["number"]).any()
            ]
        assert lesion["settled"] is (len(lesion["seen_by"]) == 2)
        assert lesion["probability"] is None


def test_nothing_names_the_readers(room, desk):
    for path in ("case", "summary"):
        text = desk.get(path).text
        assert not any(word in text for word in ("R1", "R2", SUBJECT, "wk04"))
    assert "R1" not in desk.client.get("/").text.replace("Dr ADJ", "")


@pytest.mark.parametrize(("word", "reason"), [("A", ""), ("B", ""), ("reject", "vessel")])
def test_taking_or_rejecting_gives_the_read_of_export_and_import(trial, room, tmp_path, word, reason, monkeypatch):
    renewed = []
    monkeypatch.setattr(reading_api, "start_renewal", renewed.append)
    shutil.copytree(trial.root, tmp_path / "other")
    other = Trial(tmp_path / "other")
    desk = desk_of(room, "wk04")
    for lesion in asked(desk):
        if reason:
            assert desk.decide(lesion, "reject", desk.case["next_number"], reason).status_code == 200
        else:
            take(desk, lesion, word)
    assert {lesion["choice"] for lesion in asked(desk)} == {"neither" if reason else word}
    answer = sign(desk)
    assert answer.status_code == 200, answer.text
    assert renewed == [room.trial]
    by_file(other, tmp_path, word, reason)
    ours, theirs = (load_read(one.reads, SUBJECT, "wk04", "ADJ", 1) for one in (trial, other))
    assert ours.record.status is ReadStatus.ADJUDICATED
    assert ours.record.decisions == theirs.record.decisions
    assert {(d.accepted, d.choice) for d in ours.record.decisions} == {(False, "") if reason else (True, word)}
    assert ours.record.adjudicates == theirs.record.adjudicates
    for kind in ("t2_lesions", "gel", "black_holes"):
        assert (getattr(ours.masks, kind).data == getattr(theirs.masks, kind).data).all()
    visit = visits_of(trial)["wk04"]
    assert (visit.read, visit.counting.reader) == (ReadStatus.LOCKED, "ADJ")
    assert verify_trial(trial.root).deviations == ()
    write_trial_tables(trial.root, provisional=False)


def test_an_own_outline_is_kept_as_it_is(trial, room, desk):
    lesions = asked(desk)
    for lesion in lesions:
        take(desk, lesion, lesion["seen_by"][0])
    own = next(lesion for lesion in lesions if lesion["kind"] == "T2")
    erased = np.flatnonzero(desk.labels("T2").ravel(order="F") == own["number"])[:3]
    runs = [[int(i), 1, own["number"], 0] for i in erased]
    assert desk.do(desk.case["next_number"], op="voxels", kind="T2", runs=runs).status_code == 200
    assert "own" in {lesion["choice"] for lesion in asked(desk)}
    before = np.count_nonzero(desk.labels("T2"))
    assert sign(desk).status_code == 200
    assert load_read(trial.reads, SUBJECT, "wk04", "ADJ", 1).masks.t2_lesions.mask.sum() == before


def enlarge(desk, lesion):
    """Draw the free voxels beside a lesion under its number; returns how many."""
    present = desk.labels(lesion["kind"])
    own = present == lesion["number"]
    beside = np.logical_or.reduce([np.roll(own, step, axis) for axis in range(3) for step in (-1, 1)])
    drawn = np.flatnonzero((beside & (present == 0)).ravel(order="F"))
    runs = [[int(i), 1, 0, lesion["number"]] for i in drawn]
    answer = desk.do(desk.case["next_number"], op="voxels", kind=lesion["kind"], runs=runs)
    assert answer.status_code == 200, answer.text
    return len(runs)


@pytest.mark.parametrize("reason", ["", "vessel"])  # without one: the read without the lesion is taken
def test_nothing_stays_of_a_lesion_that_is_enlarged_and_rejected(trial, room, desk, reason):
    own = next(lesion for lesion in asked(desk) if lesion["kind"] == "T2" and len(lesion["seen_by"]) == 1)
    for lesion in asked(desk):
        if lesion["kind"] != "T2" or lesion["number"] != own["number"]:
            take(desk, lesion, lesion["seen_by"][0])
    others = np.count_nonzero(np.isin(desk.labels("T2"), [0, own["number"]], invert=True))
    assert enlarge(desk, own) > 5
    assert desk.decide(own, "reject", desk.case["next_number"], reason).status_code == 200
    assert sign(desk).status_code == 200
    read = load_read(trial.reads, SUBJECT, "wk04", "ADJ", 1)
    assert read.masks.t2_lesions.mask.sum() == others
    (decision,) = [d for d in read.record.decisions if (d.kind.value, d.lesion) == ("T2", own["number"])]
    assert (decision.accepted, decision.choice, decision.comment) == (False, "", reason)


def test_another_label_over_an_enlarged_and_rejected_lesion_is_a_contradiction(room, desk):
    own = next(lesion for lesion in asked(desk) if lesion["kind"] == "T2" and len(lesion["seen_by"]) == 1)
    decided(desk, own["seen_by"][0])
    enlarge(desk, own)
    inside = int(np.flatnonzero(outlines(desk, own["seen_by"][0], "T2").ravel(order="F") == own["number"])[0])
    number = desk.case["next_number"]
    assert desk.do(number, op="voxels", kind="T2", runs=[[inside, 1, own["number"], 60]]).status_code == 200
    present = next(one for one in asked(desk) if (one["kind"], one["number"]) == ("T2", own["number"]))
    assert desk.decide(present, "reject", number + 1, "vessel").status_code == 200
    (contradiction,) = desk.get("summary").json()["contradictions"]
    assert "found label 60 instead" in contradiction
    assert sign(desk).status_code == 409


def test_what_is_refused(room):
    desks = (desk_of(room, visit) for visit in visits_of(room.trial))
    desk, settled = next((desk, one) for desk in desks for one in desk.case["lesions"] if one["settled"])
    answer = desk.decide(settled, "reject", 1)
    assert (answer.status_code, "both outline in the same way" in answer.text) == (422, True)
    assert desk.client.get(f"{desk.url}/reads/C/T2").status_code == 404
    answer = sign(desk)
    assert answer.status_code == 409
    assert f"{len(asked(desk))} undecided" in answer.text
    assert [one for one in room.worklists.of("R1") if one.purpose != ReadPurpose.READ] == []
    reader = browser(room, "R1")
    assert reader.get(f"{desk.url}/reads/A/T2").status_code == 403
    assert reader.get(f"{desk.url}/case").status_code == 404


def test_an_adjudication_of_reads_that_have_changed_is_withdrawn(trial, room, desk):
    for lesion in asked(desk):
        take(desk, lesion, "A")
    seen = desk.get("summary").json()["seen"]
    proof = Proof(password=lambda _: PASSWORDS["R2"])
    with pytest.raises(Exception, match="expected a read by this reader that counts"):
        unlock_read(trial.root, subject=SUBJECT, visit="wk04", reader="R2", reason="x", proof=proof)
    with opened(trial) as registry, registry._engine.begin() as connection:  # as after a reopened read
        connection.exec_driver_sql("UPDATE reads SET digest = 'other' WHERE visit = 'wk04' AND reader = 'R2'")
    answer = desk.post("sign", {"login": "ADJ", "password": PASSWORDS["ADJ"], "seen": seen})
    assert answer.status_code == 409
    assert desk.client.get(f"{desk.url}/case").status_code in {404, 409}


def decided(desk, name="A"):
    for lesion in asked(desk):
        take(desk, lesion, name)
    return desk


def killed(*_args, **_kwargs):
    raise RuntimeError("power cut")


@pytest.mark.parametrize(("step", "state"), [("statement_of", "open"), ("lock_visits", "signed")])
@pytest.mark.parametrize("restarted", [False, True])
def test_an_adjudication_that_was_interrupted_is_signed_and_locked(trial, room, desk, step, state, restarted):
    decided(desk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"reading_centre.use_cases.reading.signature.{step}", killed)
        assert sign(desk).status_code == 500
    if restarted:
        room.forget(desk.url.rsplit("/", 1)[1])
    desk.client.get("/")
    assert (visits_of(trial)["wk04"].read, desk.case["state"]) == (ReadStatus.ADJUDICATED, state)
    if state == "open":
        assert sign(desk).json()["version"] == 1
    finish_signed(room)
    visit = visits_of(trial)["wk04"]
    assert (visit.read, visit.counting.reader) == (ReadStatus.LOCKED, "ADJ")
    assert room.registry.audit_entries("reading withdrawn") == []


def test_an_adjudication_is_not_withdrawn_by_another_tab_during_the_signature(room, desk, monkeypatch):
    decided(desk)
    own = room.assignment(desk.url.rsplit("/", 1)[1], "ADJ")

    def looked_at(*args, **kwargs):
        room.present_case(own)
        return statement_of(*args, **kwargs)

    monkeypatch.setattr("reading_centre.use_cases.reading.signature.statement_of", looked_at)
    assert sign(desk).status_code == 200
    assert desk.case["state"] == "signed"


def test_a_withdrawn_adjudication_is_not_signed(room, desk, monkeypatch):
    decided(desk)
    own = room.assignment(desk.url.rsplit("/", 1)[1], "ADJ")

    def withdrawn(*args, **kwargs):
        room.registry.assignments.withdraw(own.code, "by another process")
        return statement_of(*args, **kwargs)

    monkeypatch.setattr("reading_centre.use_cases.reading.signature.statement_of", withdrawn)
    answer = sign(desk)
    assert (answer.status_code, "found a withdrawn one" in answer.text) == (409, True)
    assert room.registry.assignments.find(own.code, "ADJ").state is AssignmentState.WITHDRAWN
    assert room.registry.audit_entries("reading signed") == []


def test_an_unlocked_adjudication_is_a_new_case_and_the_next_version(trial, room, desk):
    assert sign(decided(desk)).status_code == 200
    proof = Proof(password=lambda _: PASSWORDS["ADJ"])
    unlock_read(trial.root, subject=SUBJECT, visit="wk04", reader="ADJ", reason="a vessel", proof=proof)
    again = desk_of(room, "wk04")
    assert again.url != desk.url
    assert desk_of(room, "wk04").url == again.url
    assert sign(decided(again, "B")).json()["version"] == 2
    visit = visits_of(trial)["wk04"]
    assert (visit.read, visit.counting.reader, visit.counting.version) == (ReadStatus.LOCKED, "ADJ", 2)
    assert room.registry.audit_entries("reading withdrawn") == []


def test_the_code_of_an_adjudication_is_of_its_own(trial, room, desk):
    key = Sealed.open(trial).secret("reading")
    codes = {reading_code(key, SUBJECT, "wk04", purpose) for purpose in ReadPurpose}
    assert desk.url.rsplit("/", 1)[1] not in codes
    assert len(codes) == 3


# --- requests of any content at a real adjudication ---------------------------------------------------------------


@pytest.fixture(scope="module")
def opened_case(original, tmp_path_factory):
    with opened_room(copy_of(original, tmp_path_factory.mktemp("any"))) as room:
        yield room, desk_of(room, "wk12")


PARTS = {"pane": "read_A_flair", "kind": "T2", "name": "A"}


def reading_endpoints(room):
    return sorted(one for one in endpoints(create_app(room)) if "{assignment}" in one[1])


def target_of(desk, path, **parts):
    known = {"assignment": desk.url.rsplit("/", 1)[1], **PARTS, **parts}
    return re.sub(r"{(\w+)}", lambda part: known[part[1]], path)


def test_every_address_of_an_adjudication_is_reached(opened_case):
    room, desk = opened_case
    pane = next(one["volume"] for one in desk.case["panes"])
    for method, path in reading_endpoints(room):
        if method == "GET":
            expected = 403 if "previous" in path else 200  # an adjudicator sees no previous visit
            assert desk.client.get(target_of(desk, path, pane=pane)).status_code == expected, path


def test_no_request_at_an_adjudication_is_answered_by_a_fault(opened_case):
    room, desk = opened_case
    known, statuses = reading_endpoints(room), set()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(data=st.data())
    def ask(data):
        method, path = data.draw(st.sampled_from(known))
        parts = {part: data.draw(st.just(value) | SEGMENT) for part, value in PARTS.items()}
        body = {"json": data.draw(OPERATION | BODY)} if data.draw(st.booleans()) else {"data": data.draw(FORM)}
        headers = {"X-Client": desk.tab} | data.draw(HEADERS)
        before = state_of(room, desk)
        answer = desk.client.request(
            method, target_of(desk, path, **parts), headers=headers, **({} if method == "GET" else body)
        )
        assert answer.status_code < 500, answer.text
        statuses.add((method, answer.status_code))
        if method == "GET" or answer.status_code != 200:
            assert state_of(room, desk) == before, (path, body)

    ask()
    assert {("GET", 200), ("POST", 422)} <= statuses
    desk.lease()
    take(desk, asked(desk)[0], "A")  # the case goes on


def state_of(room, desk):
    """What a request can change: the case as its reader sees it, its labels, its log, and the reads."""
    code = desk.url.rsplit("/", 1)[1]
    labels = {kind: desk.get(f"labels/{kind}").content for kind in ("T2", "GEL", "BH")}
    return desk.case, labels, room.registry.assignments.edits(code), room.registry.subject(SUBJECT)


FAULTY = st.sampled_from(["dropped", "unknown", [], {"x": 1}, "x y", -1, 2**40, 1.5])
"""What is wrong at a field: it is left out, another one is added, or it has this value."""


def test_no_malformed_request_is_carried_out(opened_case):
    """Each request is one of the page with one fault. It is refused, and nothing of the adjudication has changed."""
    room, desk = opened_case
    desk.lease()
    lesion, number = asked(desk)[0], desk.case["next_number"]
    start = int(np.flatnonzero(desk.labels("T2").ravel(order="F") == 0)[0])
    own = {"kind": lesion["kind"], "lesion": lesion["number"]}
    requests = [
        ("operations", {"number": number, "op": "decide", **own, "decision": "reject", "old": {}}),
        ("operations", {"number": number, "op": "voxels", "kind": "T2", "runs": [[start, 1, 0, 1]]}),
        ("operations", {"number": number, "op": "change", "lesion": 1, "change": "new", "old": None}),
        ("operations", {"number": number, "op": "retype", **own, "to": "BH"}),
        ("tools/fill", {"kind": "T2", "voxel": [1, 1, 1], "pane": "flair"}),
        ("tools/split", dict(own)),
        ("lease", {"client": desk.tab, "take_over": True}),
        ("sign", {"login": "ADJ", "password": PASSWORDS["ADJ"], "seen": desk.get("summary").json()["seen"]}),
    ]
    before, statuses = state_of(room, desk), set()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(request=st.sampled_from(requests), fault=FAULTY, data=st.data())
    def ask(request, fault, data):
        (path, body), field = request, data.draw(st.sampled_from(sorted(request[1])))
        body = body | {"unknown" if fault == "unknown" else field: fault}
        if fault == "dropped":
            assume(field not in OPTIONAL)
            del body[field]
        status = desk.post(path, body).status_code
        statuses.add(status)
        assert 400 <= status < 500, (path, body)
        assert state_of(room, desk) == before, (path, body)

    ask()
    assert {409, 422} <= statuses
    take(desk, lesion, "A")  # the case goes on


OPTIONAL = {"take_over", "login"}


OPERATION = st.fixed_dictionaries(
    {"number": st.integers(0, 9), "op": st.sampled_from(["decide", "voxels", "change", "retype", "undo"])},
    optional={
        "kind": st.sampled_from(["T2", "GEL", "BH", "x"]), "lesion": st.integers(-1, 70000),
        "decision": st.sampled_from(["accept", "reject", "A", "B", None]), "old": JSON, "reason": TEXT,
        "runs": st.lists(st.lists(st.integers(-5, 2**40), max_size=5), max_size=3), "change": TEXT,
    },
)  # fmt: skip
"""What looks like an operation."""
