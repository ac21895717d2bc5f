"""Queries to the sites: entered with a scan, answered, closed, each step audited."""

import json

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.registry import QueryState, Question, Registry
from mri_pipeline.registry.site_queries import SUPERSEDED
from reading_centre import cli
from tests.unit.registry_steps import withdraw_scan

PROTOCOL = parse_protocol(protocol_text())
THICK = Question(
    "T2w: expected a slice thickness of at most 3 mm, found 5 mm",
    "thickness_2d",
    "T2w",
    5.0,
    3.0,
    "mm",
    "state why",
)
SUBJECT = "BCDF2345"


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "trial.toml").write_text(protocol_text())
    with Registry.open(Trial(tmp_path), PROTOCOL) as opened:
        yield opened


def received(registry, *findings, visit="wk00", digest="d1", subject=SUBJECT):
    registry.record_scan(subject, visit, site="S01", upload_digest=digest, findings=findings)


def trail(registry):
    entries = [entry for entry in registry.audit_trail() if entry.action.startswith("query")]
    times = ("at", "entered_at")
    return [(e.action, e.target, {n: v for n, v in e.details.items() if n not in times}) for e in entries]


def test_findings_on_a_scan_are_queries_with_value_limit_and_what_to_do(registry):
    received(registry, THICK, "another")
    received(registry, THICK, "another")  # the same upload again
    first, second = registry.site_queries.all()
    assert (first.number, first.site, first.subject, first.visit) == (1, "S01", SUBJECT, "wk00")
    assert first.state is QueryState.OPEN
    assert first.question == THICK
    assert second.question == Question("another")
    assert registry.subject(SUBJECT).visits[0].findings == (THICK.message, "another")
    assert trail(registry)[0] == (
        "query entered",
        f"query 1 {SUBJECT} wk00",
        {
            "site": "S01", "rule": "thickness_2d", "contrast": "T2w", "message": THICK.message, "measured": 5.0,
            "limit_value": 3.0, "unit": "mm", "to_do": "state why",
        },
    )  # fmt: skip


def test_a_query_is_answered_and_closed_and_both_are_audited(registry):
    received(registry, THICK)
    answered = registry.site_queries.answer(1, text="coil defect", by="S01 radiographer")
    assert (answered.state, answered.answer, answered.answered_by) == (
        QueryState.ANSWERED, "coil defect", "S01 radiographer"
    )  # fmt: skip
    assert answered.answered_at
    assert registry.site_queries.count() == {QueryState.OPEN: 0, QueryState.ANSWERED: 1, QueryState.CLOSED: 0}
    closed = registry.site_queries.close(1, reason="accepted", by="QC")
    assert (closed.state, closed.close_reason, closed.closed_by) == (QueryState.CLOSED, "accepted", "QC")
    assert registry.site_queries.get(1) == closed
    assert trail(registry)[1:] == [
        ("query answered", f"query 1 {SUBJECT} wk00", {"answer": "coil defect", "by": "S01 radiographer"}),
        ("query closed", f"query 1 {SUBJECT} wk00", {"reason": "accepted", "by": "QC"}),
    ]
    by = {entry.action: entry.reader for entry in registry.audit_trail()}
    assert (by["query answered"], by["query closed"]) == ("S01 radiographer", "QC")
    registry.verify_audit()
    for change in (
        lambda: registry.site_queries.answer(1, text="x", by="y"),
        lambda: registry.site_queries.close(1, reason="x", by="y"),
    ):
        with pytest.raises(UsageError, match="query 1: expected one that is not closed, found a closed one"):
            change()


@pytest.mark.parametrize(("text", "by", "name"), [("", "QC", "answer"), ("text", " ", "by")])
def test_an_answer_has_a_text_and_a_person(registry, text, by, name):
    received(registry, THICK)
    with pytest.raises(UsageError, match=f"expected a text as {name}, found none"):
        registry.site_queries.answer(1, text=text, by=by)
    assert registry.site_queries.get(1).state is QueryState.OPEN


@pytest.mark.parametrize("text", ["a\0b", "caf\udce9"])  # the second is how Python reads an argument in Latin-1
def test_an_answer_that_a_database_cannot_store_is_refused(registry, text):
    received(registry, THICK)
    for change in (
        lambda: registry.site_queries.answer(1, text=text, by="S01"),
        lambda: registry.site_queries.answer(1, text="text", by=text),
        lambda: registry.site_queries.close(1, reason=text, by="QC"),
    ):
        with pytest.raises(UsageError, match="expected text in UTF-8 without NUL"):
            change()
    assert registry.site_queries.get(1).state is QueryState.OPEN


def test_an_unknown_query_is_wrong_use(registry):
    with pytest.raises(UsageError, match="expected the number of a query, found 7, which does not exist"):
        registry.site_queries.get(7)


def test_another_scan_of_the_visit_closes_its_queries_and_no_others(registry):
    received(registry, THICK)
    received(registry, THICK, visit="wk04", digest="d2")
    withdraw_scan(registry, SUBJECT, "wk00", reason="motion")
    received(registry, "new", digest="d3")
    states = [(q.visit, q.state.value, q.close_reason) for q in registry.site_queries.all()]
    assert states == [("wk00", "closed", SUPERSEDED), ("wk04", "open", ""), ("wk00", "open", "")]


def test_only_an_accepted_dummy_run_has_queries(registry):
    registry.record_dummy_run("S01", accepted=False, upload_digest="a", findings=["1.0 T"])
    assert registry.site_queries.all() == []
    registry.record_dummy_run("S01", accepted=True, upload_digest="b", findings=[THICK])
    registry.record_dummy_run("S02", accepted=True, upload_digest="c", findings=[THICK])
    registry.record_dummy_run("S01", accepted=True, upload_digest="d")
    assert [(q.site, q.subject, q.state.value) for q in registry.site_queries.all()] == [
        ("S01", "", "closed"), ("S02", "", "open")
    ]  # fmt: skip


def test_the_command_lists_shows_answers_and_closes(registry, tmp_path, capsys):
    received(registry, THICK, "another")
    trial = str(tmp_path)

    def run(*arguments):
        assert cli.invoke(["query", *arguments]) == 0
        return capsys.readouterr().out

    (first, second) = json.loads(run("list", trial, "--json"))
    assert (first["number"], first["reason"], first["measured"], first["limit"], first["unit"], first["to_do"]) == (
        1, THICK.message, 5.0, 3.0, "mm", "state why"
    )  # fmt: skip
    assert second["reason"] == "another"
    assert json.loads(run("list", trial, "--site", "S02", "--json")) == []
    run("answer", trial, "1", "--text", "coil defect", "--by", "S01")
    assert [q["number"] for q in json.loads(run("list", trial, "--state", "answered", "--json"))] == [1]
    assert cli.invoke(["status", trial]) == 0
    assert "queries: 1 open, 1 answered" in capsys.readouterr().out
    run("close", trial, "1", "--reason", "accepted", "--by", "QC")
    shown = run("show", trial, "1")
    for line in (
        "state: closed",
        "answer: coil defect",
        "answered by: S01",
        "close reason: accepted",
        "limit: 3.0",
    ):
        assert line in shown
    assert "1 open" not in run("list", trial, "--state", "closed")
    assert json.loads(run("show", trial, "2", "--json"))["state"] == "open"
    assert cli.invoke(["query", "close", trial, "9", "--reason", "x", "--by", "y"]) == 2
    assert "expected the number of a query, found 9" in capsys.readouterr().err
