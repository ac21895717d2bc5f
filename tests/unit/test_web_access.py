"""Who may do what in the web application: sessions, roles, other sites, passwords, and what a reader never sees."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount

from mri_pipeline.core.accounts import READING_ROLES, Role
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.reading.accounts import account_fingerprint, password_hash
from mri_pipeline.registry import sessions
from mri_pipeline.registry.job_records import JobKind
from mri_pipeline.registry.schema import SessionRow
from reading_centre.use_cases.trial import people
from reading_centre.use_cases.trial.people import finish_passwords, set_password
from reading_centre.use_cases.uploads.waiting import WaitingUpload
from reading_centre.web.access import AUTOMATIC, COOKIE, EVERYBODY
from reading_centre.web.app import create_app
from reading_centre.web.render import message_of
from reading_centre.web.security import HEADERS
from reading_centre.web.static_files import StaticFiles
from tests.unit.office_trial import STAFF
from tests.unit.reading_trial import copy_of, edit_protocol
from tests.unit.web_trial import PASSWORDS, SITE, Desk, browser, opened_room, write_web_trial

SUBJECTS = ("BENCH000", "BENCH001")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    trial = write_web_trial(tmp_path_factory.mktemp("access") / "trial", subjects=2)
    edit_protocol(trial, "readers = 1", "readers = 2")
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


@pytest.fixture
def room(trial):
    with opened_room(trial) as room:
        yield room


def first_case(room, reader):
    client = browser(room, reader)
    client.get("/")
    return Desk(client, room.worklists.of(reader)[0].code)


# --- role x endpoint x own / other ------------------------------------------------------------------------------

BODIES = {
    "operations": {"number": 1, "op": "decide", "kind": "T2", "lesion": 1, "decision": "accept", "old": {}},
    "tools/fill": {"kind": "T2", "voxel": [20, 20, 7], "pane": "flair"},
    "tools/split": {"kind": "T2", "lesion": 1},
    "lease": {"client": "tab", "take_over": False},
    "sign": {"login": "R1", "password": PASSWORDS["R1"], "seen": ""},
}
OWN = ("/password", "/authenticator", "/authenticator/confirm")
"""Addresses of the own account."""
ROLES = {"R1": Role.READER, "R2": Role.READER, "ADJ": Role.ADJUDICATOR} | {
    code: Role(role) for code, (role, _site, _password) in STAFF.items()
}


def endpoints(app):
    """Method and path of every endpoint, with its declared roles."""
    found = {}
    for route in _routes(app.routes):
        for method in route.methods - {"HEAD"}:
            found[method, route.path] = route.endpoint.roles
    return found


def _routes(routes):
    for route in routes:
        if isinstance(route, Mount):
            assert route.path == "/static"
        elif hasattr(route, "endpoint"):
            yield route
        else:  # a router that was included
            yield from _routes(route.effective_candidates())


def test_every_endpoint_declares_its_roles(room):
    declared = endpoints(create_app(room))
    assert len(declared) == 57
    public = {key for key, roles in declared.items() if EVERYBODY in roles}
    assert public == {("GET", "/login"), ("POST", "/login"), ("POST", "/logout")}
    assert all(roles for roles in declared.values())
    readers = {path for (_, path), roles in declared.items() if roles & READING_ROLES}
    assert all(path in {"/", *OWN} or path.startswith(("/reading/", "/api/reading/")) for path in readers)
    changes = [key for key, roles in declared.items() if Role.AUDITOR in roles and key[0] != "GET"]
    assert changes == [("POST", path) for path in OWN]  # an auditor changes nothing but the own account
    assert not [path for (_, path), roles in declared.items() if Role.SITE in roles and "office" in path]


def call(client, method, path, **known):
    own = {"pane": "flair", "kind": "T2", "name": "A", "job": "0" * 24, "decision": "retry", "wish": "run"}
    own |= {"scanner": 999, "person": "S02-CD", **known}
    path = path.format(**own)
    body = BODIES.get(path.split(f"{own['assignment']}/", 1)[-1])
    return client.request(method, path, json=body, headers={"X-Client": "tab"} if body else {})


def own_things(room):
    """An opened case of R1, an upload and a query of site S01."""
    desk = first_case(room, "R1")
    desk.lease()
    room.registry.record_dummy_run("S01", accepted=True, upload_digest="another", findings=["FLAIR: a question"])
    job = room.registry.jobs.begin(JobKind.VISIT, account="S01-AB", site="S01", visit="wk00", size_bytes=10)
    WaitingUpload(room.trial, job.code).create({})
    (query,) = room.registry.site_queries.all()
    return {"assignment": desk.url.rsplit("/", 1)[1], "upload": job.code, "number": query.number}


UNKNOWN = {"assignment": "0" * 24, "upload": "0" * 24, "number": 999}
OWNERS = {"assignment": "R1", "upload": "S01-AB", "number": "S01-AB"}
"""Who owns the things of `own_things`. A data manager and an auditor see every query."""


@pytest.mark.parametrize("who", ["nobody", *ROLES])
@pytest.mark.requirement("AUDIT-07")
def test_roles_by_endpoints_by_own_and_other(room, who, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_PER_ACCOUNT", 100)  # wrong passwords and codes at several endpoints
    own = own_things(room)
    client = browser(room, "" if who == "nobody" else who)
    for (method, path), roles in endpoints(create_app(room)).items():
        if EVERYBODY in roles or path.endswith("/discard"):  # the last: see test_web_site
            continue
        answer, unknown = call(client, method, path, **own), call(client, method, path, **UNKNOWN)
        owned = next((name for name in OWNERS if f"{{{name}}}" in path), "")
        if who == "nobody":
            assert answer.status_code == unknown.status_code == (401 if path.startswith("/api") else 303), path
        elif ROLES[who] not in roles:
            assert answer.status_code == unknown.status_code == 403, path
        elif not owned or path.startswith("/office/"):
            assert answer.status_code in allowed_status(method, path, ROLES[who]), path
        else:
            refused = 422 if method == "PATCH" else 404  # PATCH without its headers
            assert unknown.status_code == refused, path
            mine = {409} if path.endswith("sign") else {200, 422} if method in {"POST", "PATCH"} else {200}
            mine |= {404} if path.endswith(("/report", "/previous/{kind}")) else set()  # there is none
            assert answer.status_code in (mine if who == OWNERS[owned] else {refused}), path
            if who != OWNERS[owned]:
                assert answer.content == unknown.content, path


def allowed_status(method, path, role):
    if path in OWN:
        return {200} if method == "GET" else {401, 422}  # without the present password or a code
    if path == "/":
        return {200} if role in READING_ROLES else {303}
    if method == "GET":
        return {404} if re.search(r"{(name|job|kind|scanner)}", path) else {200}
    return {303} if path.endswith(("agreement", "{wish}")) else {404, 422}  # without a form


def test_an_endpoint_without_a_declaration_is_refused(room):
    app = create_app(room)
    app.add_api_route("/forgotten", lambda: "secret")
    client = browser(room, "R1")
    bare = TestClient(app, SITE, cookies=client.cookies, follow_redirects=False)
    assert bare.get("/forgotten").status_code == 403


def test_a_slow_opening_makes_no_other_reader_wait(room, monkeypatch):
    """Openings of one subject, and of one reader, follow each other."""
    first = next(case for case in room.worklists.of("R1") if case.subject == SUBJECTS[0])
    others = [next(c for c in room.worklists.of("R2") if c.subject == subject) for subject in SUBJECTS]
    begun, go_on, opened, open_ = threading.Event(), threading.Event(), [], room.opener.open

    def slow(assignment, lock):
        opened.append(assignment.code)
        if assignment.code == first.code:
            begun.set()
            assert go_on.wait(60)
        return open_(assignment, lock)

    monkeypatch.setattr(room.opener, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(room.case, first)
        assert begun.wait(60)
        room.case(others[1])
        same = pool.submit(room.case, others[0])
        with pytest.raises(TimeoutError):
            same.result(0.3)
        assert opened == [first.code, others[1].code]
        go_on.set()
        waiting.result()
        same.result()


# --- sessions ---------------------------------------------------------------------------------------------------


def test_a_logout_ends_the_session_on_the_server(room):
    client = browser(room, "R1")
    token = client.cookies[COOKIE]
    assert client.get("/").status_code == 200
    assert client.post("/logout").headers["location"] == "/login"
    client.cookies.set(COOKIE, token)
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/api/reading/x/case").status_code == 401


def test_the_cookie_is_hidden_from_scripts_and_other_sites_and_only_its_hash_is_stored(room):
    client = browser(room)
    form = {"login": "r1", "password": PASSWORDS["R1"]}
    cookie = client.post("/login", data=form).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    token = client.cookies[COOKIE]
    assert len(token) >= 43
    with room.registry._engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM sessions").fetchall()
    assert token not in str(rows)
    other = browser(room)
    other.post("/login", data=form)
    assert other.cookies[COOKIE] != token


@pytest.mark.parametrize(
    ("column", "ago", "alive"),
    [
        ("seen_at", timedelta(minutes=29), True),
        ("seen_at", timedelta(minutes=31), False),
        ("created_at", timedelta(hours=11, minutes=59), True),
        ("created_at", timedelta(hours=12, minutes=1), False),
    ],
)
def test_a_session_ends_idle_and_absolutely(room, column, ago, alive):
    client = browser(room, "R1")
    at = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
    with room.registry._engine.begin() as connection:
        connection.execute(SessionRow.__table__.update().values({column: at}))
    assert client.get("/").status_code == (200 if alive else 303)


def test_signs_of_life_of_a_page_do_not_prolong_a_session(room):
    desk = first_case(room, "R1")
    at = (datetime.now(UTC) - timedelta(minutes=20)).isoformat(timespec="seconds")
    seen = []
    for request in (desk.lease, lambda: desk.get("summary")):
        with room.registry._engine.begin() as connection:
            connection.execute(SessionRow.__table__.update().values(seen_at=at))
        request()
        with room.registry._engine.connect() as connection:
            seen.append(connection.execute(SessionRow.__table__.select()).one().seen_at == at)
    assert seen == [True, False]


def test_a_page_that_is_loaded_by_itself_does_not_prolong_a_session(room):
    """Pages that wait for a job (`wait.js`)."""
    manager = browser(room, "DM")
    at = (datetime.now(UTC) - timedelta(minutes=20)).isoformat(timespec="seconds")
    for headers, prolonged in (({AUTOMATIC: "yes"}, False), ({}, True)):
        with room.registry._engine.begin() as connection:
            connection.execute(SessionRow.__table__.update().values(seen_at=at))
        assert manager.get("/office/jobs", headers=headers).status_code == 200
        with room.registry._engine.connect() as connection:
            assert (connection.execute(SessionRow.__table__.select()).one().seen_at != at) is prolonged


def test_a_new_password_ends_the_sessions_of_the_account(trial, room):
    client, other = browser(room, "R1"), browser(room, "R2")
    old = room.people.account("R1").password_hash
    edit_protocol(trial, old, password_hash("a new long password"))
    assert client.get("/").status_code == 303
    assert other.get("/").status_code == 200
    assert browser(room, "R1", password="a new long password").get("/").status_code == 200


def test_an_invalid_trial_toml_leaves_the_accounts_as_they_were(trial, room):
    client = browser(room, "R1")
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(f"{text}\n[nonsense")
    assert client.get("/").status_code == 200
    assert browser(room, "R2").get("/").status_code == 200
    trial.protocol_file.unlink()
    assert client.get("/").status_code == 200


# --- passwords --------------------------------------------------------------------------------------------------


def attempt(client, login="R1", password="wrong"):
    return client.post("/login", data={"login": login, "password": password})


@pytest.mark.parametrize("login", ["R1", "nobody", "", "R1' OR 1=1 --", "<script>"])
def test_wrong_login_and_wrong_password_look_the_same(room, login):
    client = browser(room)
    answer = attempt(client, login)
    assert answer.status_code == 401
    assert "Login or password is wrong." in answer.text
    assert COOKIE not in client.cookies
    assert "<script>" not in answer.text.replace('<script src="/static/theme.js"></script>', "")


@pytest.mark.parametrize("content", [b"", b"%ff=1", b"&" * 5000, b"login=%00&password=%00", b"{", b"password=x"])
def test_a_login_of_another_form_is_a_wrong_one(room, content):
    assert browser(room).post("/login", content=content).status_code == 401


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"number": NaN}'])
def test_an_operation_of_another_form_is_refused(room, content):
    desk = first_case(room, "R1")
    for path in ("operations", "lease", "tools/fill", "tools/split", "sign"):
        answer = desk.client.post(
            f"{desk.url}/{path}", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in {400, 422}, path
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.requirement("AUDIT-07")
def test_too_many_wrong_passwords_lock_the_account_out(room, monkeypatch):
    client = browser(room)
    assert [attempt(client, "r1").status_code for _ in range(6)] == [401] * 5 + [429]
    assert attempt(client, "R1", PASSWORDS["R1"]).status_code == 429
    assert attempt(client, "R2", PASSWORDS["R2"]).status_code == 303
    monkeypatch.setattr(sessions, "ATTEMPTS_WINDOW", timedelta(seconds=-1))
    assert attempt(client, "R1", PASSWORDS["R1"]).status_code == 303


def test_the_right_password_clears_the_count(room):
    client = browser(room)
    for _ in range(2):
        assert [attempt(client).status_code for _ in range(4)] == [401] * 4
        assert attempt(client, password=PASSWORDS["R1"]).status_code == 303


def test_too_many_wrong_passwords_lock_an_address_out(room, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_PER_ADDRESS", 3)
    client = browser(room)
    assert [attempt(client, f"X{n}").status_code for n in range(4)] == [401] * 3 + [429]
    assert attempt(client, "R2", PASSWORDS["R2"]).status_code == 429


@pytest.mark.requirement("AUDIT-07")
def test_logins_and_refusals_are_audited_without_passwords(room):
    client = browser(room)
    attempt(client)
    attempt(client, password=PASSWORDS["R1"])
    client.post("/logout")
    trail = [(e.action, e.reader) for e in room.registry.audit_trail() if e.action.startswith("log")]
    assert trail == [("login refused", "R1"), ("login", "R1"), ("logout", "R1")]
    assert PASSWORDS["R1"] not in json.dumps([e.details for e in room.registry.audit_trail()])


# --- a password of one's own ------------------------------------------------------------------------------------


def change(client, old, new, again=None):
    return client.post("/password", data={"password": old, "new": new, "again": new if again is None else again})


def test_a_one_time_password_serves_to_set_an_own_one_and_for_nothing_else(trial, room):
    before = trial.protocol_file.read_bytes()
    give_one_time_password(trial, room, "R1")
    client = browser(room, "R1", password="set by the manager")
    code = room.worklists.of("R1")[0].code
    for path in ("/", f"/reading/{code}"):
        assert client.get(path).headers["location"] == "/password", path
    for answer in (client.get(f"/api/reading/{code}/case"), client.post(f"/api/reading/{code}/lease", json={})):
        assert answer.status_code == 403
    assert "was set by another person" in client.get("/password").text
    assert change(client, "set by the manager", "my own long password").headers["location"] == "/login"
    assert client.get("/").headers["location"] == "/login"  # the session has ended
    assert attempt(client, "R1", "set by the manager").status_code == 401
    assert browser(room, "R1", password="my own long password").get("/").status_code == 200
    assert "one_time" not in trial.protocol_file.read_text()
    (entry,) = room.registry.audit_entries("password changed")
    assert (entry.reader, entry.details["account"]) == ("R1", account_fingerprint(room.people.account("R1")))
    assert len(before.splitlines()) == len(trial.protocol_file.read_bytes().splitlines())


ONE_TIME_HASH = password_hash("set by the manager")


def give_one_time_password(trial, room, code, *, ago=timedelta(0)):
    at = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
    own = f'password_hash = "{room.people.account(code).password_hash}"'
    edit_protocol(trial, own, f'one_time_password_hash = "{at} {ONE_TIME_HASH}"')


@pytest.mark.parametrize(("hours", "status"), [(71, 303), (73, 401)])
def test_a_one_time_password_ends(trial, room, hours, status):
    give_one_time_password(trial, room, "R1", ago=timedelta(hours=hours))
    assert attempt(browser(room), "R1", "set by the manager").status_code == status
    shown = browser(room, "DM").get("/office/people").text
    assert ("expired" in shown, "until 20" in shown) == (hours > 72, hours < 72)


def test_a_session_ends_with_its_one_time_password(trial, room, monkeypatch):
    give_one_time_password(trial, room, "R1", ago=timedelta(hours=71))
    client = browser(room, "R1", password="set by the manager")
    assert client.get("/password").status_code == 200
    monkeypatch.setattr("mri_pipeline.core.accounts.ONE_TIME_LIMIT", timedelta(hours=70))
    assert client.get("/password").headers["location"] == "/login"
    assert change(client, "set by the manager", "my own long password").headers["location"] == "/login"
    assert "one_time" in trial.protocol_file.read_text()


@pytest.mark.parametrize("kind", ["one-time", "own"])
def test_a_replaced_password_does_not_come_back(trial, room, kind):
    """An earlier trial.toml is copied back: who knew the old password gets in neither by login nor by session."""
    old = PASSWORDS["R1"]
    if kind == "one-time":
        give_one_time_password(trial, room, "R1")
        old = "set by the manager"
    before, others = trial.protocol_file.read_bytes(), browser(room, "R1", password=old)
    assert change(browser(room, "R1", password=old), old, "my own long password").status_code == 303
    trial.protocol_file.write_bytes(before)
    assert others.get("/password").headers["location"] == "/login"
    assert attempt(browser(room), "r1", old).status_code == 401
    assert attempt(browser(room), "R2", PASSWORDS["R2"]).status_code == 303


def test_a_change_that_a_kill_interrupted_names_its_person(trial, room):
    client = browser(room, "R1")
    with (
        mock.patch.object(sessions.Sessions, "password_changed", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        set_password(trial, room.registry, room.people.account("R1"), "my own long password")
    assert room.registry.audit_entries("password changed") == []
    for _ in range(2):
        finish_passwords(room.people, room.registry)
    (entry,) = room.registry.audit_entries("password changed")
    assert (entry.reader, entry.details["account"]) == ("R1", account_fingerprint(room.people.account("R1")))
    assert client.get("/").headers["location"] == "/login"


def test_a_change_that_did_not_reach_trial_toml_is_none(trial, room):
    with (
        mock.patch.object(people, "write_atomic", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        set_password(trial, room.registry, room.people.account("R1"), "my own long password")
    finish_passwords(room.people, room.registry)
    assert room.registry.audit_entries("password changed") == []
    assert browser(room, "R1").get("/").status_code == 200


@pytest.mark.parametrize("fault", [b"\n[[secret.table]]\nkey = 1\n", b"\n# \xff\n", b"\n[nonsense"])
def test_a_person_sees_nothing_of_a_fault_in_trial_toml(trial, room, fault):
    client = browser(room, "R1")
    trial.protocol_file.write_bytes(trial.protocol_file.read_bytes() + fault)
    answer = change(client, PASSWORDS["R1"], "my own long password")
    assert answer.status_code == 422
    alert = re.search(r'role="alert">([^<]*)<', answer.text)[1]
    assert (
        alert
        == "Expected that the server can store the new password, found that it cannot. Tell the reading centre."
    )


@pytest.mark.parametrize(
    ("old", "new", "again", "status"),
    [
        ("wrong", "my own long password", None, 401),
        ("", "my own long password", None, 401),
        (PASSWORDS["R1"], "my own long password", "another long password", 422),
        (PASSWORDS["R1"], PASSWORDS["R1"], None, 422),
        (PASSWORDS["R1"], "short", None, 422),
        (PASSWORDS["R1"], "", None, 422),
    ],
)
def test_a_password_that_may_not_be_set_changes_nothing(trial, room, old, new, again, status):
    before = trial.protocol_file.read_text()
    client = browser(room, "R1")
    answer = change(client, old, new, again)
    assert (answer.status_code, 'role="alert"' in answer.text) == (status, True)
    assert trial.protocol_file.read_text() == before
    assert client.get("/").status_code == 200


def test_a_change_of_the_password_keeps_the_rest_of_trial_toml(trial, room):
    before, old = trial.protocol_file.read_text(), room.people.account("DM").password_hash
    trial.protocol_file.chmod(0o640)
    assert change(browser(room, "DM"), STAFF["DM"][2], "my own long password").status_code == 303
    after, new = trial.protocol_file.read_text(), room.people.account("DM").password_hash
    assert after == before.replace(old, new)
    assert trial.protocol_file.stat().st_mode & 0o777 == 0o640


def test_people_who_were_given_one_password_change_it_each(trial, room):
    shared = room.people.account("R2").password_hash
    edit_protocol(trial, room.people.account("R1").password_hash, shared)
    for reader in ("R2", "R1"):
        client = browser(room, reader, password=PASSWORDS["R2"])
        assert change(client, PASSWORDS["R2"], f"the own word of {reader}").status_code == 303
        assert browser(room, reader, password=f"the own word of {reader}").get("/").status_code == 200


def test_an_account_that_was_changed_meanwhile_stays(trial, room):
    person, client = room.people.account("R1"), browser(room, "R1")
    edit_protocol(trial, person.password_hash, password_hash("of the manager, later"))
    before = trial.protocol_file.read_text()
    with pytest.raises(UsageError, match=r"the account of R1 in trial\.toml was changed meanwhile"):
        set_password(trial, room.registry, person, "my own long password")
    assert change(client, PASSWORDS["R1"], "my own long password").headers["location"] == "/login"
    assert trial.protocol_file.read_text() == before


def test_no_page_tells_a_fault_of_the_settings():
    text = message_of(SettingsError("trial.toml: readers.0.password: extra inputs", hint="see docs/protocol.md"))
    assert text == "The settings of the trial have a fault. Tell the reading centre."


# --- other sites ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": SITE}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": f"{SITE}.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": SITE}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({}, 403),
    ],
)
def test_requests_of_other_sites_change_nothing(room, headers, status):
    client = browser(room)
    del client.headers["Origin"]
    form = {"login": "R1", "password": PASSWORDS["R1"]}
    assert client.post("/login", data=form, headers=headers).status_code == status


def test_large_bodies_are_refused(room):
    client = browser(room)
    answer = client.post("/login", content=b"login=" + b"x" * (16 * 1024 * 1024))
    assert answer.status_code == 413
    assert client.post("/login", content=(b"x" for _ in range(2))).status_code == 413  # of unknown length


def test_security_headers_are_on_every_response(room):
    desk = first_case(room, "R1")
    paths = ["/", "/login", "/static/site.css", "/static/none", "/none", f"{desk.url}/case", f"{desk.url}/none"]
    paths += [f"{desk.url}/volumes/flair", "/api/reading/x/case", "/openapi.json", "/docs"]
    for path in paths:
        answer = desk.client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
        assert answer.headers["cache-control"] == "no-store", path
        assert "strict-transport-security" not in answer.headers
    assert [desk.client.get(path).status_code for path in ("/openapi.json", "/docs")] == [404, 404]
    tls = desk.client.get("https://testserver/login")
    assert tls.headers["strict-transport-security"] == "max-age=31536000"


def test_static_files_are_kept_by_the_browser_until_they_change(room, tmp_path):
    client = browser(room)
    addresses = re.findall(r'"(/static/[^"]+)"', client.get("/login").text)
    assert {address.rsplit("/", 1)[1] for address in addresses} == {"theme.js", "icon.svg", "site.css"}
    for address in addresses:
        answer = client.get(address)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "max-age=31536000, immutable")
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert client.head(address).status_code == 200
        assert client.post(address).status_code == 405
        other = re.sub(r"/static/\w{16}/", f"/static/{'0' * 16}/", address)
        assert client.get(other).status_code == client.get(f"{address}x").status_code == 404
    script = next(address for address in addresses if address.endswith(".js"))
    assert client.get(script).headers["content-type"].startswith("text/javascript")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.js").write_text("1")
    before = StaticFiles(tmp_path)
    assert before.modules("a") == [before.address("a/one.js")] == StaticFiles(tmp_path).modules("a")
    (tmp_path / "a" / "one.js").write_text("2")
    assert StaticFiles(tmp_path).address("a/one.js") != before.address("a/one.js")
    with pytest.raises(KeyError):
        before.address("a/two.js")


# --- what a reader never sees -----------------------------------------------------------------------------------


def everything(room, reader):
    """All that a reader gets: headers and bodies of pages, cases, images, errors."""
    client = browser(room, reader)
    seen = [client.get("/")]
    for assignment in room.worklists.of(reader):
        desk = Desk(client, assignment.code)
        seen += [client.get(f"/reading/{assignment.code}"), desk.get("case"), desk.get("summary")]
        seen += [desk.do(7), desk.do(1, op="change", lesion=1, change="new", old=None), desk.post("sign", {})]
        seen += [desk.client.get(f"{desk.url}/{path}") for path in ("volumes/x", "labels/x", "x")]
        seen += [desk.get("volumes/flair"), desk.get("labels/T2")]
    return seen


@pytest.mark.requirement("BLIND-03")
def test_no_subject_visit_site_or_file_is_seen_and_all_cases_have_one_shape(trial, room):
    visits = [visit.label for visit in room.protocol.visits]
    codes = [*SUBJECTS, *visits, *(site.code for site in room.protocol.sites), "nii.gz", "affine", str(trial.root)]
    shapes, seen = set(), everything(room, "R1")
    assert len(seen) == 1 + 14 * 11
    stored = [
        json.loads(p.read_text())["reading_code"] for p in trial.reads.glob("*/*/opened/proposed/*/proposal.json")
    ]
    assert len(stored) == 14
    for answer in seen:
        binary = answer.headers["content-type"] == "application/octet-stream"
        text = f"{answer.url} {dict(answer.headers)} {'' if binary else answer.text}"
        assert not [code for code in (*codes, *stored) if code in text]
        if "shape" in text and answer.url.path.endswith("/case"):
            shapes.add(tuple(answer.json()["shape"]))
    assert len(shapes) == 1


@pytest.mark.requirement("BLIND-03")
def test_each_reader_has_other_codes(room):
    codes = [{a.code for a in room.worklists.of(reader)} for reader in ("R1", "R2")]
    assert [len(own) for own in codes] == [14, 14]
    assert not codes[0] & codes[1]
    assert room.worklists.of("ADJ") == []


def test_a_fault_names_nothing(room, monkeypatch):
    def fault(*_args):
        raise RuntimeError("subject BENCH000")

    desk = first_case(room, "R1")
    monkeypatch.setattr(type(room), "view", fault)
    client = TestClient(create_app(room), SITE, cookies=desk.client.cookies)
    answer = client.get(f"{desk.url}/case")
    assert (answer.status_code, answer.json()["detail"][:23]) == (500, "The server has a fault.")
    assert answer.headers["cache-control"] == "no-store"
