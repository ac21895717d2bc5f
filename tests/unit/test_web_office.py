"""The pages of data managers and auditors: what they show is the registry's, what they change is audited."""

import csv
import datetime as dt
import html
import io
import json
import re
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from unittest import mock

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol, parse_protocol
from mri_pipeline.registry import Registry, ScannerFacts
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.job_records import LONG, MOST_ATTEMPTS_LONG, JobKind
from reading_centre.use_cases.office.visits import site_overview, totals
from reading_centre.use_cases.tables.trial_tables import WrittenTables
from reading_centre.use_cases.trial.init import init_trial
from reading_centre.use_cases.trial.roles import change_role, finish_roles
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report
from reading_centre.use_cases.uploads.jobs import Lane, do_jobs, lane_of, lanes_with_work
from reading_centre.use_cases.uploads.quarantine import show_quarantine
from reading_centre.web.render import sentences
from tests.unit.office_trial import BEGIN, NUMBERS, staff_accounts, write_office_trial
from tests.unit.reading_trial import copy_of
from tests.unit.web_trial import browser, opened_room
from workflows.outcome import BatchOutcome, Outcome

PAGES = (
    "/office", "/office/queries", "/office/quarantine", "/office/reads", "/office/audit", "/office/scanners",
    "/office/analysis", "/office/jobs", "/office/people", "/office/queries/1",
)  # fmt: skip

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_office_trial(tmp_path_factory.mktemp("office") / "trial")


@pytest.fixture
def room(original, tmp_path):
    with opened_room(copy_of(original, tmp_path)) as room:
        yield room


@pytest.fixture
def manager(room):
    return browser(room, "DM")


def code_of(room, number, site="S01"):
    return Sealed.open(room.trial).preview(site, number)


def test_releases_are_listed_with_what_was_written(room):
    client = browser(room, "DM")
    assert "The blinding was not lifted yet" in client.get("/office/analysis").text
    release = {"reason": "first look", "subjects": 12}
    room.registry.audit(AuditAction.TABLES_RELEASED, details=release)  # interrupted
    room.registry.audit(AuditAction.TABLES_RELEASED, details=release | {"reason": "database lock"})
    room.registry.audit(AuditAction.RELEASE_WRITTEN, details={"reason": "", "files": {"nv.csv": "ab" * 32}})
    text = client.get("/office/analysis").text
    rows = re.findall(r"<tr>.*?</tr>", re.search(r'id="releases".*?</table>', text, re.DOTALL)[0], re.DOTALL)[1:]
    assert ["database lock" in row for row in rows] == [True, False]
    assert ["nv.csv <code>abababababab</code>" in row for row in rows] == [True, False]
    assert ["interrupted" in row for row in rows] == [False, True]


def test_sites_subjects_and_visits_at_a_glance(original):
    protocol = load_protocol(original.protocol_file)
    last = BEGIN + dt.timedelta(days=100)
    with Registry.open(original, protocol) as registry:
        sites = site_overview(original, protocol, registry, today=last)
        numbers = totals(sites, registry)
        rows = {row.code: row.cells for site in sites for row in site.subjects}
    one, two = (rows[Sealed.open(original).preview("S01", number)] for number in NUMBERS[:2])
    assert [cell.state for cell in one[:4]] == ["locked", "to adjudicate", "received", "missing"]
    # 100 days after week 0: week 12 (84 days) is 16 days late, week 24 comes 68 days later
    assert [cell.due for cell in one[:4]] == ["", "", "", "not due yet"]
    assert (one[0].open_queries, one[1].open_queries) == (1, 0)
    assert [cell.state for cell in two[:3]] == ["analysed", "analysed", "missing"]
    assert [(site.code, site.gate, site.quarantined, site.dummy_run_queries) for site in sites] == [
        ("S01", "accepted", 1, 1),
        ("S02", "accepted", 1, 0),
    ]
    assert numbers == {
        "subjects": 4, "scans received": 7, "scans analysed": 6, "reads locked": 1, "visits overdue": 2,
        "queries open": 5, "queries answered": 0, "refused uploads waiting": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("days", "due"), [(20, "not due yet"), (21, "due"), (35, "due"), (36, "overdue")]
)  # week 4: 28 days, 7 days on either side
def test_a_visit_is_due_in_its_window_and_overdue_after_it(original, days, due):
    protocol = load_protocol(original.protocol_file)
    with Registry.open(original, protocol) as registry:
        sites = site_overview(original, protocol, registry, today=BEGIN + dt.timedelta(days=days))
    (subject,) = sites[1].subjects
    assert [cell.due for cell in subject.cells[:2]] == ["", due]


def test_the_overview_shows_no_trial_number_and_every_state(room, manager):
    text = manager.get("/office").text
    assert not re.search(r"\b(0001|0002|0003|0009|0101)\b", text)
    for word in (code_of(room, "0001"), "to adjudicate", "1 refused upload waiting", "gate-accepted", "1 open"):
        assert word in text, word
    assert manager.get("/").headers["location"] == "/office"


def test_a_query_is_answered_and_closed_with_the_person(room, manager):
    listed = manager.get("/office/queries?state=open&site=S01").text
    numbers = sorted(map(int, re.findall(r'href="/office/queries/(\d+)"', listed)))
    assert len(numbers) == 4
    query = f"/office/queries/{numbers[0]}"
    assert "State whether the coil was changed." in manager.get(query).text
    answered = manager.post(f"{query}/answer", data={"text": "<b>the same coil</b>"})
    assert (answered.status_code, answered.headers["location"]) == (303, query)
    assert "&lt;b&gt;the same coil&lt;/b&gt;" in manager.get(query).text
    assert manager.post(f"{query}/close", data={"text": "answered"}).status_code == 303
    entries = [e for e in room.registry.audit_trail() if e.target.startswith(f"query {numbers[0]} ")]
    assert [(e.action, e.reader) for e in entries] == [
        ("query entered", ""), ("query answered", "DM"), ("query closed", "DM"),
    ]  # fmt: skip
    again = manager.post(f"{query}/answer", data={"text": "late"})
    assert again.status_code == 422
    assert "expected one that is not closed, found a closed one." in again.text
    assert query not in manager.get("/office/queries").text
    assert query in manager.get("/office/queries?state=closed").text


@pytest.mark.parametrize("text", ["", "   ", "\0"])
def test_an_empty_answer_is_none(room, manager, text):
    answer = manager.post("/office/queries/1/answer", data={"text": text})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert room.registry.site_queries.get(1).state == "open"


@pytest.mark.parametrize(
    "path",
    [
        "/office/queries/99", "/office/queries/0", "/office/queries/x", "/office/queries/99999999999999999999",
        "/office/queries?state=none", "/office/queries?site=S99", "/office/quarantine/none",
        "/office/quarantine/..%2Ftrial.toml", f"/office/quarantine/{'x' * 300}", f"/office/jobs/{'x' * 300}",
        f"/office/tables/{'x' * 300}", f"/office/agreement/{'x' * 300}",
        "/office/agreement/agreement.html", "/office/agreement/..%2Ftrial.toml",
        "/office/jobs/%00", "/office/audit/audit.xml", "/office/audit/audit.csv?since=yesterday", "/office/none",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_so(manager, path):
    answer = manager.get(path)
    assert answer.status_code in {404, 405, 422}
    told = ("Expected", "Not Found", "Method Not Allowed", "The request has a fault at path", "This trial has no ")
    assert any(text in answer.text for text in (*told, "The address has a null character"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=none", "This trial has no state none. Go to the queries."),
        ("site=S99", "This trial has no site S99. Go to the queries."),
        ("site=<b>", "This trial has no site &lt;b&gt;. Go to the queries."),
    ],
)
def test_an_unknown_filter_of_the_queries_is_named(manager, query, message):
    answer = manager.get(f"/office/queries?{query}")
    assert answer.status_code == 404
    assert message in answer.text


def test_the_quarantine_shows_each_refusal_with_its_reason(room, manager):
    text = manager.get("/office/quarantine").text
    names = re.findall(r'href="/office/quarantine/([\w-]+)"', text)
    assert len(names) == 2
    pages = [manager.get(f"/office/quarantine/{name}").text for name in names]
    assert [("dummy run" in page, "S02" in page) for page in pages] == [(True, True), (False, False)]
    assert all("unreadable upload" in page or "unsafe upload" in page for page in pages)
    for page, entry in zip(pages, map(partial(show_quarantine, room.trial.root), names), strict=True):
        assert entry.next_step
        assert all(sentence in html.unescape(page) for sentence in sentences(entry.next_step))


def test_reads_and_the_rate_of_adjudication(room, manager):
    text = re.sub(r"\s+", " ", manager.get("/office/reads").text)
    assert "R1: locked, counts" in text
    assert "R2: confirmed, compared" in text
    rate = '<th scope="row">R1-R2</th><td class="number">2</td><td class="number">1</td><td class="number">50.0 %</td>'
    assert rate in text
    assert "number of GEL (1)" in text
    assert "No report was written yet." in text


def test_the_agreement_report_is_shown_and_downloaded(room, manager):
    room.trial.reports.mkdir(exist_ok=True)
    table = (
        "comparison,readers,endpoint,statistic,value,low,high,visits\n"
        "between readers,R1-R2,gel_volume_ml,icc_2_1,0.8125,0.5,,9\n"
        "between readers,R1-R2,new_t2_count,kappa_any,,,,9\n"
        "between readers,R1-R2,bh_count,bland_altman_bias,-0.25,-1.5,1,9\n"
    )
    (room.trial.reports / "agreement.csv").write_text(table)
    (room.trial.reports / "agreement.html").write_text("<style>p{}</style>")
    text = manager.get("/office/reads").text
    rows = [
        re.findall("<td[^>]*>([^<]*)</td>", row) for row in text.split("<h2>Agreement</h2>")[1].split("<tr>")[2:]
    ]
    assert rows == [
        ["between readers", "R1-R2", "GEL volume (mL)", "ICC(2,1)", "0.812", DASH, "9"],
        ["between readers", "R1-R2", "new T2 count", "kappa, any", DASH, DASH, "9"],
        ["between readers", "R1-R2", "black hole count", "bias", f"{MINUS}0.250", f"{MINUS}1.500 to 1.000", "9"],
    ]
    assert "the 95 % limits of agreement of the bias" in text  # and quartiles: no confidence interval for all
    assert manager.get("/office/agreement/agreement.csv").text == table
    page = manager.get("/office/agreement/agreement.html")
    assert page.headers["content-disposition"].startswith("attachment")


def test_the_audit_trail_is_filtered_and_downloaded_whole(room, manager):
    trail = room.registry.audit_trail()
    shown = manager.get("/office/audit?action=dummy-run&subject=S02").text
    assert "1 entry" in re.sub(r"\s+", " ", shown) or "2 entries" in shown
    expected = [e for e in trail if e.action == "dummy-run" and e.target == "S02"]
    found = manager.get("/office/audit/audit.json?action=dummy-run&subject=S02")
    assert [e["seq"] for e in found.json()] == [e.seq for e in expected] != []
    assert "attachment" in found.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(manager.get("/office/audit/audit.csv").text)))
    assert [row["hash"] for row in rows][: len(trail)] == [e.hash for e in trail]
    assert [json.loads(row["details"]) for row in rows[:3]] == [e.details for e in trail[:3]]
    wrong = manager.get("/office/audit?since=yesterday")
    assert wrong.status_code == 422
    assert "Expected a time such as 2026-03-01" in wrong.text


def test_an_auditor_sees_all_pages_and_changes_nothing(room):
    auditor = browser(room, "AUD")
    for path in PAGES:
        answer = auditor.get(path)
        assert answer.status_code == 200, path
        assert "<textarea" not in answer.text
    before = len(room.registry.audit_trail())
    for path in ("/office/queries/1/answer", "/office/queries/1/close"):
        assert auditor.post(path, data={"text": "x"}).status_code == 403
    assert len(room.registry.audit_trail()) == before


# --- scanners: decisions on dummy runs --------------------------------------------------------------------------

SCANNER = ScannerFacts("SIEMENS", "Skyra", "E11", 3.0, "digest of the serial number")


def dummy_run(room, *, rules=(), accepted=True):
    room.registry.record_dummy_run(
        "S01", accepted=accepted, upload_digest="run", scanner=SCANNER, coil="Head_20", undecided=accepted,
        rules=rules, final=("field_strength",),
    )  # fmt: skip
    (gate,) = room.registry.scanner_gates.all()
    return gate, {"coil": "Head_20", "dummy_run": "run", "decision": "accept", "reason": "the figures are good"}


def test_a_data_manager_decides_on_a_dummy_run(room, manager):
    gate, form = dummy_run(room)
    listed = manager.get("/office/scanners").text
    assert "waits for a decision" in listed
    assert SCANNER.serial_digest not in listed
    url = f"/office/scanners/{gate.number}"
    assert "Head_20" in manager.get(url).text
    assert manager.post(f"{url}/decide", data=form).headers["location"] == url
    (decided,) = room.registry.scanner_gates.all()
    assert (decided.state, decided.by, decided.reason) == ("accepted", "DM", "the figures are good")
    assert room.registry.audit_entries("scanner gate set")[-1].reader == "DM"
    assert "waits for a decision" not in manager.get("/office/scanners").text
    assert manager.post(f"{url}/decide", data=form | {"decision": "refuse"}).status_code == 303
    assert room.registry.scanner_gates.all()[0].state == "refused"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reason": " "}, "Expected a reason of up to 500 characters"),
        ({"reason": "x" * 501}, "Expected a reason of up to 500 characters"),
        ({"decision": "maybe"}, "Expected one of accept, refuse as decision, found maybe."),
        ({"coil": "Body"}, "This scanner has no dummy run with this receive coil."),
        ({"dummy_run": "an earlier one"}, "There is a newer dummy run."),
    ],
)
def test_a_decision_of_another_form_is_none(room, manager, wrong, message):
    gate, form = dummy_run(room)
    answer = manager.post(f"/office/scanners/{gate.number}/decide", data=form | wrong)
    assert (answer.status_code, message in answer.text) == (422, True)
    assert room.registry.scanner_gates.all() == [gate]


def test_no_person_overrules_safety_and_an_auditor_decides_nothing(room, manager):
    gate, form = dummy_run(room, accepted=False, rules=("field_strength",))
    url = f"/office/scanners/{gate.number}"
    answer = manager.post(f"{url}/decide", data=form)
    assert (answer.status_code, "refused by" in answer.text) == (422, True)
    auditor = browser(room, "AUD")
    assert "<form" not in auditor.get(url).text.split("<main")[1]
    assert auditor.post(f"{url}/decide", data=form).status_code == 403
    assert room.registry.scanner_gates.all() == [gate]


def test_a_later_dummy_run_that_waits_is_the_one_that_is_decided(room, manager):
    gate, form = dummy_run(room)
    url = f"/office/scanners/{gate.number}"
    assert manager.post(f"{url}/decide", data=form).status_code == 303
    room.registry.record_dummy_run(
        "S01", accepted=True, upload_digest="later", scanner=SCANNER, coil="Head_20", undecided=True
    )
    assert "waits for a decision" in manager.get("/office/scanners").text
    assert "Later dummy run" in manager.get(url).text
    answer = manager.post(f"{url}/decide", data=form)
    assert (answer.status_code, "There is a newer dummy run." in answer.text) == (422, True)
    assert manager.post(f"{url}/decide", data=form | {"dummy_run": "later"}).status_code == 303
    (decided,) = room.registry.scanner_gates.all()
    assert (decided.state, decided.dummy_run_digest, decided.waiting_digest) == ("accepted", "later", "")


def test_the_acceptance_report_is_downloaded_and_no_other_file(room, manager):
    gate, _form = dummy_run(room)
    room.trial.reports.mkdir(exist_ok=True)
    acceptance_report(room.trial, "S01", "run").write_text("<p>the report</p>")
    (link,) = re.findall(
        r'href="(/office/scanners/reports/[^"]+)"', manager.get(f"/office/scanners/{gate.number}").text
    )
    answer = manager.get(link)
    assert (answer.text, answer.headers["content-disposition"][:10]) == ("<p>the report</p>", "attachment")
    (room.trial.reports / "sub-X.html").write_text("no acceptance report")
    for name in ("sub-X.html", "..%2Ftrial.toml", "dummy-run_none.html", f"dummy-run_{'x' * 300}.html"):
        assert manager.get(f"/office/scanners/reports/{name}").status_code == 404


def test_the_page_on_image_quality_is_ordered_and_downloaded(room, manager):
    dummy_run(room)
    job = manager.post("/office/analysis/quality").headers["location"]
    do_jobs(room.trial.root)
    assert "done" in manager.get(job).text
    assert "/office/scanners/reports/qc.html" in manager.get("/office/scanners").text
    assert "Skyra" in manager.get("/office/scanners/reports/qc.html").text


def test_people_are_listed_with_roles_and_logins_without_hashes(room, manager):
    text = manager.get("/office/people").text
    row = re.sub(r"\s+", " ", text.split('<th scope="row">DM</th>')[1].split("</tr>")[0])
    assert "data manager" in row
    assert re.search(r"own password</td> <td class=\"time\">20\d\d-", row)
    assert "argon2" not in text


def changed_role(client, person, role, site=""):
    return client.post(f"/office/people/{person}/role", data={"role": role, "site": site})


@pytest.mark.requirement("AUDIT-07")
def test_a_data_manager_changes_the_role_of_another_person(room, manager):
    site = browser(room, "S02-CD")
    before = room.trial.protocol_file.read_text()
    assert "Change the role of S02-CD" in manager.get("/office/people").text
    assert changed_role(manager, "s02-cd", "data manager").status_code == 303
    assert site.get("/site").headers["location"] == "/login"  # the sessions end
    again = browser(room, "S02-CD")
    assert again.get("/office").status_code == 200
    assert again.get("/site").status_code == 403
    assert changed_role(again, "S02-CD", "auditor").status_code == 422  # nobody changes the own role
    assert changed_role(again, "DM", "site", "S02").status_code == 303
    assert changed_role(manager, "S02-CD", "auditor").status_code == 303  # to the login: the session has ended
    assert room.people.account("S02-CD").role == "data manager"
    assert changed_role(again, "DM", "data manager").status_code == 303
    assert changed_role(browser(room, "DM"), "S02-CD", "site", "S02").status_code == 303
    assert load_protocol(room.trial.protocol_file) == parse_protocol(before)  # nothing else has changed
    changes = [
        (entry.reader, entry.target, entry.details["old"], entry.details["new"])
        for entry in room.registry.audit_entries(AuditAction.ROLE_CHANGED)
    ]
    assert changes == [
        ("DM", "S02-CD", "site S02", "data manager"), ("S02-CD", "DM", "data manager", "site S02"),
        ("S02-CD", "DM", "site S02", "data manager"), ("DM", "S02-CD", "data manager", "site S02"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("person", "role", "site", "found"),
    [
        ("DM", "auditor", "", "found yourself"),
        ("nobody", "auditor", "", "a person of this trial"),
        ("AUD", "site", "", "a site of this trial"),
        ("AUD", "site", "S99", "a site of this trial"),
        ("AUD", "data manager", "S01", "no site"),
        ("AUD", "reader", "", "expected site or data manager as the new role"),
        ("R1", "data manager", "", "expected adjudicator as the new role"),
        ("R1", "adjudicator", "", "without a read or an opened case"),  # R1 has read
    ],
)
def test_roles_that_a_person_cannot_get(room, manager, person, role, site, found):
    before = room.trial.protocol_file.read_text()
    answer = changed_role(manager, person, role, site)
    assert answer.status_code == 422
    assert found.lower() in answer.text.lower()
    assert room.trial.protocol_file.read_text() == before
    assert not room.registry.audit_entries(AuditAction.ROLE_CHANGE_BEGUN)
    assert changed_role(manager, "AUD", "king").status_code == 422


def test_a_reader_without_a_read_becomes_an_adjudicator_and_back(room, manager):
    text = room.trial.protocol_file.read_text()
    room.trial.protocol_file.write_text(text + '\n[[readers]] # a new one\nname = "C"\ncode = "R3"  # no role\n')
    room.registry.assignments.refresh("R3", {(code_of(room, "0001"), "wk00", "read")}, ())
    assert changed_role(manager, "R3", "adjudicator").status_code == 303
    assert room.registry.assignments.of_reader("R3") == []  # withdrawn
    assert room.people.protocol.readers[-1].role == "adjudicator"
    assert "# no role" in room.trial.protocol_file.read_text()
    assert changed_role(manager, "R3", "reader").status_code == 303
    assert room.people.protocol.readers[-1].role == "reader"


@pytest.mark.requirement("AUDIT-07")
def test_a_change_of_a_role_that_was_interrupted_is_completed(room, manager):
    site, change = browser(room, "S02-CD"), type(room.registry.sessions).role_changed

    def killed(self, action, *args, **more):
        if action == AuditAction.ROLE_CHANGED:
            raise KeyboardInterrupt
        change(self, action, *args, **more)

    with mock.patch.object(type(room.registry.sessions), "role_changed", killed), pytest.raises(KeyboardInterrupt):
        change_role(room.trial, room.registry, "S02-CD", Role.DATA_MANAGER, by="DM")
    assert site.get("/office").headers["location"] == "/login"  # the session of the earlier role has ended
    again = browser(room, "S02-CD")
    finish_roles(room.people.protocol, room.registry)
    assert again.get("/office").headers["location"] == "/login"
    (entry,) = room.registry.audit_entries(AuditAction.ROLE_CHANGED)
    assert (entry.reader, entry.target, entry.details["new"]) == ("DM", "S02-CD", "data manager")
    finish_roles(room.people.protocol, room.registry)
    assert len(room.registry.audit_entries(AuditAction.ROLE_CHANGED)) == 1


def test_a_form_of_an_earlier_role_changes_nothing(room, manager):
    assert changed_role(manager, "S02-CD", "data manager").status_code == 303
    form = {"role": "auditor", "site": "", "old": "site S02"}
    answer = manager.post("/office/people/S02-CD/role", data=form)
    assert answer.status_code == 422
    assert "found another one" in answer.text
    assert 'name="old" value="data manager"' in answer.text
    assert manager.post("/office/people/S02-CD/role", data=form | {"old": "data manager"}).status_code == 303


def test_an_account_at_the_end_of_the_file_is_changed(room, manager):
    file = room.trial.protocol_file
    file.write_text(file.read_text() + '\n[[accounts]]\nrole = "auditor"\ncode = "AU2"')
    assert changed_role(manager, "AU2", "site", "S01").status_code == 303
    assert room.people.protocol.accounts[-1].site == "S01"


def test_an_account_in_another_form_is_changed_by_hand(room, manager):
    file = room.trial.protocol_file
    head, _, accounts = file.read_text().partition("[[accounts]]")
    tables = tomllib.loads("[[accounts]]" + accounts)["accounts"]
    inline = ", ".join("{" + ", ".join(f'{key} = "{value}"' for key, value in one.items()) + "}" for one in tables)
    file.write_text(f"accounts = [{inline}]\n{head}")
    answer = changed_role(manager, "AUD", "data manager")
    assert answer.status_code == 422
    assert "change the role in trial.toml" in answer.text.lower()


def test_a_role_that_is_not_stored_is_not_entered_as_changed(room, manager):
    with mock.patch("reading_centre.use_cases.trial.roles.write_atomic", side_effect=OSError("no space")):
        answer = changed_role(manager, "AUD", "data manager")
    assert answer.status_code == 422
    assert "no space" not in answer.text
    assert room.registry.audit_entries(AuditAction.ROLE_CHANGE_BEGUN)
    assert not room.registry.audit_entries(AuditAction.ROLE_CHANGED)
    assert room.people.account("AUD").role == "auditor"


# --- runs and tables as jobs ------------------------------------------------------------------------------------


def test_runs_and_tables_are_ordered_and_done_by_a_process_of_their_own(room, manager):
    pages = {wish: manager.post(f"/office/analysis/{wish}").headers["location"] for wish in ("run", "tables")}
    assert manager.post("/office/analysis/run").headers["location"] == pages["run"]  # one at a time
    assert lanes_with_work(room.trial, room.registry) == [Lane.LONG]
    do_jobs(room.trial.root, Lane.SHORT)
    assert {job.state for job in room.registry.jobs.latest()} == {"waiting"}
    with (
        mock.patch("reading_centre.use_cases.analysis.run.run_trial", return_value=BATCH) as run,
        mock.patch("reading_centre.use_cases.uploads.job_work.refresh_reports") as renewed,
    ):
        do_jobs(room.trial.root, Lane.LONG)
    assert run.call_args.kwargs == {"only_failed": False}
    assert renewed.call_count == 1
    text = manager.get(pages["run"]).text
    assert "Subjects analysed: 1, unchanged: 1, with a failure: 2." in text
    assert "Sub-C: wk04: no FLAIR." in text
    assert "Sub-D: out of memory." in text
    assert 'class="state waits">done, 2 subjects failed<' in text
    states = {job.kind: (job.state, job.account) for job in room.registry.jobs.latest()}
    assert states == {
        "run": ("done", "DM"), "tables": ("failed", "DM"),  # no analysis has results
        "displayed images": ("waiting", ""),
    }  # fmt: skip
    assert lanes_with_work(room.trial, room.registry) == [Lane.DISPLAY]
    do_jobs(room.trial.root, Lane.DISPLAY)
    assert [e.reader for e in room.registry.audit_entries("job failed")] == ["DM"]
    ordered, ended = (
        {e.details["kind"]: e.reader for e in room.registry.audit_entries(f"job {action}")}
        for action in ("ordered", "ended")
    )
    assert ordered == {"run": "DM", "tables": "DM", "displayed images": ""}  # the system
    assert ended == {"run": "DM", "displayed images": ""}
    pages = {job.kind: f"/office/jobs/{job.code}" for job in room.registry.jobs.latest()}
    assert "<dt>Person</dt><dd>automatic, " in manager.get(pages["displayed images"]).text
    assert "<td>automatic</td>" in manager.get("/office/jobs").text
    assert manager.get("/office/analysis").text.count("/office/jobs/") >= 2


def test_a_run_ends_before_its_displayed_images_are_made(room, manager):
    page = manager.post("/office/analysis/run").headers["location"]
    seen = []

    def prepare(_folder):
        seen.append({job.kind: job.state for job in room.registry.jobs.latest()})
        raise RuntimeError

    with (
        mock.patch("reading_centre.use_cases.analysis.run.run_trial", return_value=BATCH),
        mock.patch("reading_centre.use_cases.uploads.job_work.refresh_reports"),
        mock.patch("reading_centre.use_cases.uploads.job_work.prepare_images", prepare),
    ):
        do_jobs(room.trial.root, Lane.LONG, lambda lane: do_jobs(room.trial.root, lane))
    assert seen == [{"run": "done", "displayed images": "running"}]
    assert ">done, 2 subjects failed<" in manager.get(page).text
    (images,) = [job for job in room.registry.jobs.latest() if job.kind == "displayed images"]
    assert images.state == "failed"
    assert ">failed<" in manager.get(f"/office/jobs/{images.code}").text


def test_tables_and_a_later_run_do_not_wait_for_displayed_images(room):
    jobs = room.registry.jobs
    assert jobs.follow(JobKind.IMAGES) == jobs.follow(JobKind.IMAGES)
    done, end = Event(), Event()

    def prepare(_folder):
        done.set()
        assert end.wait(60)
        return 0

    jobs.order(JobKind.RUN, account="DM", wishes={"only_failed": False})
    jobs.order(JobKind.TABLES, account="DM", wishes={"provisional": False})
    with (
        mock.patch("reading_centre.use_cases.uploads.job_work.prepare_images", prepare),
        mock.patch("reading_centre.use_cases.analysis.run.run_trial", return_value=BATCH),
        mock.patch("reading_centre.use_cases.uploads.job_work.refresh_reports"),
        ThreadPoolExecutor(1) as other,
    ):
        display = other.submit(do_jobs, room.trial.root, Lane.DISPLAY)
        try:
            assert done.wait(60)
            do_jobs(room.trial.root, Lane.LONG)
            states = sorted((job.kind.value, job.state.value) for job in jobs.latest())
        finally:
            end.set()
        display.result()
    assert states == [
        ("displayed images", "running"), ("displayed images", "waiting"),  # new visits may have been passed
        ("run", "done"), ("tables", "failed"),  # no analysis has results
    ]  # fmt: skip
    assert {job.state for job in jobs.latest(kinds=Lane.DISPLAY.kinds)} == {"done"}


def test_each_kind_of_job_has_one_lane():
    assert sorted(kind for lane in Lane for kind in lane.kinds) == sorted(JobKind)
    assert all(lane_of(kind) is lane for lane in Lane for kind in lane.kinds)


def test_a_run_that_is_killed_after_the_order_of_its_images_orders_them_once(room, manager):
    manager.post("/office/analysis/run")
    with (
        mock.patch("reading_centre.use_cases.analysis.run.run_trial", return_value=BATCH),
        mock.patch("reading_centre.use_cases.uploads.job_work.refresh_reports"),
    ):
        killed = mock.patch("mri_pipeline.registry.jobs.Jobs.end", side_effect=KeyboardInterrupt)
        with killed, pytest.raises(KeyboardInterrupt):
            do_jobs(room.trial.root, Lane.LONG)
        do_jobs(room.trial.root, Lane.LONG)
    assert sorted((job.kind.value, job.state.value) for job in room.registry.jobs.latest()) == [
        ("displayed images", "waiting"), ("run", "done"),
    ]  # fmt: skip


BATCH = BatchOutcome((
    Outcome(subject="A", done=True), Outcome(subject="B", done=True, unchanged=True),
    Outcome(subject="C", done=False, reason="", failed_visits={"wk04": "no FLAIR"}),
    Outcome(subject="D", done=False, reason="out of memory"),
))  # fmt: skip


def test_the_tables_are_downloaded_and_no_other_file(room, manager):
    with mock.patch(
        "reading_centre.use_cases.tables.trial_tables.write_trial_tables", side_effect=written
    ) as write:
        page = manager.post("/office/analysis/tables", data={"provisional": "yes"}).headers["location"]
        do_jobs(room.trial.root, Lane.LONG)
    assert write.call_args.kwargs == {"provisional": True}
    assert 'href="/office/tables/lesions.csv"' in manager.get(page).text
    assert manager.get("/office/tables/lesions.csv").text == "subject\n"
    for name in ("none.csv", "..%2Ftrial.toml", "."):
        assert manager.get(f"/office/tables/{name}").status_code == 404
    assert browser(room, "AUD").post("/office/analysis/tables").status_code == 403


def written(folder, **_how):
    table = Trial(folder).tables / "lesions.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("subject\n")
    return WrittenTables((table,), {})


def test_an_order_waits_in_one_step_and_its_wishes_are_in_the_registry(room, manager):
    """A kill or a full disk at any moment leaves no job that blocks others, and no wish that can be lost."""
    with mock.patch("reading_centre.use_cases.uploads.waiting.write_atomic", side_effect=OSError):
        for wish in ("run", "tables", "quality"):
            data = {"only_failed": "yes", "provisional": "yes"}
            assert manager.post(f"/office/analysis/{wish}", data=data).status_code == 303
    assert list(room.trial.work.glob("upload-*")) == []
    wishes = {job.kind: (job.state, job.wishes) for job in room.registry.jobs.latest()}
    assert wishes == {
        "run": ("waiting", {"only_failed": True}), "tables": ("waiting", {"provisional": True}),
        "quality": ("waiting", {}),
    }  # fmt: skip
    with (
        mock.patch(
            "reading_centre.use_cases.tables.trial_tables.write_trial_tables", side_effect=written
        ) as write,
        mock.patch("reading_centre.use_cases.analysis.run.run_trial", return_value=BatchOutcome(())) as run,
        mock.patch("reading_centre.use_cases.uploads.job_work.refresh_reports"),
    ):
        do_jobs(room.trial.root, Lane.LONG)
    assert write.call_args.kwargs == {"provisional": True}
    assert run.call_args.kwargs == {"only_failed": True}
    ordered = {e.details["kind"]: e.details.get("wishes") for e in room.registry.audit_entries("job ordered")}
    assert ordered == {
        "run": {"only_failed": True}, "tables": {"provisional": True}, "quality": None, "displayed images": None,
    }  # fmt: skip


@pytest.mark.parametrize("step", ["folder", "job"])
def test_a_retry_that_broke_off_while_it_was_ordered_is_no_job(room, manager, step):
    (name, *_) = re.findall(r'href="/office/quarantine/([\w-]+)"', manager.get("/office/quarantine").text)
    steps = {
        "folder": "reading_centre.use_cases.uploads.waiting.write_atomic",
        "job": "mri_pipeline.registry.jobs.Jobs.order",
    }
    form = {"subject": "0001", "visit": "wk00"}
    with mock.patch(steps[step], side_effect=OSError("disk full")):
        assert manager.post(f"/office/quarantine/{name}/retry", data=form).status_code == 500
    assert room.registry.jobs.not_ended() == []
    assert manager.post(f"/office/quarantine/{name}/retry", data=form).status_code == 303


def test_a_retry_without_its_statements_is_refused_and_not_guessed(room, manager):
    (name, *_) = re.findall(r'href="/office/quarantine/([\w-]+)"', manager.get("/office/quarantine").text)
    page = manager.post(f"/office/quarantine/{name}/retry", data={"subject": "0001", "visit": "wk00"}).headers
    for folder in room.trial.work.glob("upload-*"):
        shutil.rmtree(folder)
    do_jobs(room.trial.root)
    text = manager.get(page["location"]).text
    assert "Expected the statements of the person with the job, found none." in text
    assert "Order it again." in text


def test_orders_at_once_enter_one_job(room, manager):
    def ordered(_number):
        jobs = room.registry.jobs
        return jobs.order(JobKind.TABLES, account="DM", wishes={"provisional": False}, once=True).code

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ordered, range(8)))) == 1
    for _ in range(60):  # later jobs of other kinds
        room.registry.jobs.order(JobKind.RETRY, account="DM", entry="entry")
    text = manager.get("/office/analysis").text
    assert text.count("/office/jobs/") == 1
    assert "disabled>Write the tables" in text
    assert "disabled>Start the analysis" not in text


def test_a_run_that_is_interrupted_goes_on_and_speaks_of_no_upload(room, manager):
    page = manager.post("/office/analysis/run").headers["location"]
    jobs = room.registry.jobs
    for attempt in range(1, MOST_ATTEMPTS_LONG + 1):
        assert jobs.take(LONG).attempts == attempt
    assert jobs.take(LONG) is None
    text = manager.get(page).text
    assert "Expected a job that ends, found that it was interrupted several times." in text
    assert "Order it again" in text
    assert "upload" not in text.split("<dl")[1].split("</dl>")[0]


def test_a_fault_of_a_report_speaks_of_no_upload(room, manager):
    page = manager.post("/office/analysis/quality").headers["location"]
    with mock.patch(
        "reading_centre.use_cases.uploads.job_work.quality_overview", side_effect=RuntimeError("/a/path")
    ):
        do_jobs(room.trial.root)
    facts = manager.get(page).text.split("<dl")[1].split("</dl>")[0]
    assert "Expected a job that can be done, found an unexpected RuntimeError." in facts
    assert "upload" not in facts


def test_pages_have_no_inline_code_or_style(room, manager):
    for path in PAGES:
        text = manager.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", text), path


def test_a_trial_without_subjects_has_pages(tmp_path):
    trial: Trial = init_trial(tmp_path / "trial")
    trial.protocol_file.write_text(trial.protocol_file.read_text() + staff_accounts())
    with opened_room(trial) as room:
        manager = browser(room, "DM")
        for path in PAGES[:-1]:
            assert manager.get(path).status_code == 200, path
