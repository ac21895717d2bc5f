"""What a passive scan looks at (the rules of OWASP ZAP's baseline), and requests of any content."""

import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.registry.job_records import JobKind
from reading_centre.use_cases.reading.agreement import PAGE
from reading_centre.use_cases.uploads.dummy_run.report import acceptance_report
from reading_centre.use_cases.uploads.quarantine import list_quarantine
from reading_centre.use_cases.uploads.waiting import WaitingUpload
from reading_centre.web.access import COOKIE
from reading_centre.web.app import create_app
from reading_centre.web.security import MOST_BYTES
from tests.unit.office_trial import STAFF, write_office_trial
from tests.unit.reading_trial import edit_protocol
from tests.unit.test_web_access import endpoints
from tests.unit.test_web_office import dummy_run
from tests.unit.web_trial import PASSWORDS, browser, opened_room

PEOPLE = ("", "R1", *STAFF)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
LEAKS = re.compile(
    r"Traceback|File \"|sqlalchemy|starlette|fastapi|uvicorn|/tmp/|site-packages|\bpython", re.IGNORECASE
)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    trial = write_office_trial(folder / "trial")
    known = f'password_hash = "{password_hash(PASSWORDS["R1"])}"'
    edit_protocol(trial, '[[readers]]\ncode = "R1"\n', f'[[readers]]\ncode = "R1"\n{known}\n')
    with opened_room(trial) as room:
        yield room


@pytest.fixture(scope="module")
def real(room):
    """A real thing for each parameter of an address."""
    dummy_run(room)
    (gate,) = room.registry.scanner_gates.all()
    report = acceptance_report(room.trial, gate.site, gate.dummy_run_digest)
    for file in (report, room.trial.reports / PAGE, room.trial.tables / "lesions.csv"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    entry = list_quarantine(room.trial.root)[0].name
    upload = room.registry.jobs.begin(JobKind.VISIT, account="S01-AB", site="S01", visit="wk04", size_bytes=10)
    WaitingUpload(room.trial, upload.code).create(
        {"subject": "0009", "before_infusion": None, "replace_because": ""}
    )
    job = room.registry.jobs.order(JobKind.RETRY, account="DM", site="S01", entry=entry)
    query = next(one for one in room.registry.site_queries.all() if one.site == "S01")
    names = {"quarantine": entry, "tables": "lesions.csv", "agreement": PAGE, "reports": report.name, "reads": "A"}
    things = {
        "upload": upload.code, "number": query.number, "job": job.code,
        "scanner": gate.number, "pane": "flair", "decision": "retry", "wish": "run", "person": "S02-CD",
    }  # fmt: skip

    def of(path, part):
        if part == "name":
            return next(name for folder, name in names.items() if f"/{folder}/{{name}}" in path)
        if (
            part == "assignment"
        ):  # one without images is withdrawn when it is opened, and listed under another code
            return room.worklists.of("R1")[0].code
        return str({"kind": "csv" if "audit" in path else "T2", **things}[part])

    return of


def owner_of(path):
    """Who may see the things of `real`."""
    return "S01-AB" if "/site/" in path else "R1" if "/reading/" in path else "DM"


def test_the_real_things_are_reached(room, clients, real):
    """Requests of any content (below) would else end at "not found" before they reach the endpoints."""
    for method, path in endpoints(create_app(room)):
        if method != "GET" or "{" not in path:
            continue
        target = re.sub(r"{(\w+)}", lambda part, path=path: real(path, part[1]), path)
        status = clients[owner_of(path)].get(target).status_code
        no_images = path.startswith("/api/reading/")  # of a trial without images; the reads are for adjudicators
        assert (
            status == 200 or (no_images and status in {403, 404, 409, 503}) or path.endswith("{upload}/report")
        ), path


@pytest.fixture(scope="module")
def clients(room):
    """A browser for each person. Every answer in this module is checked, those to requests of any content as well."""
    found = {person: browser(room, person) for person in PEOPLE}
    for client in found.values():
        client.event_hooks["response"].append(lambda answer: check_answer(answer, room))
    return found


TYPES = {
    "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8", "text/css; charset=utf-8",
    "text/javascript; charset=utf-8", "image/svg+xml", "application/octet-stream", "text/csv; charset=utf-8",
    "application/offset+octet-stream",
}  # fmt: skip


def check_answer(answer, room):
    """The passive rules of the baseline: headers, cookies, caches, types, error pages, and what they tell."""
    answer.read()
    headers, where = answer.headers, (answer.request.method, str(answer.url), answer.status_code)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy, where
    assert not re.search(r"unsafe|\*|data:|http:", policy), where
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} <= set(policy.split("; ")), where
    assert headers["x-content-type-options"] == "nosniff", where
    assert headers["x-frame-options"] == "DENY", where
    assert headers["referrer-policy"] == "no-referrer", where
    assert {"cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy"} <= set(headers), (
        where
    )
    assert not {"server", "x-powered-by", "access-control-allow-origin", "etag", "last-modified"} & set(headers), (
        where
    )
    assert headers["cache-control"] == "no-store", where
    if answer.content:
        assert headers["content-type"] in TYPES, (where, headers["content-type"])
    for location in headers.get_list("location"):
        assert re.match(r"/(?![/\\])", location), (where, location)  # no other site
    for cookie in headers.get_list("set-cookie"):
        assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.lower().split("; ")), where
    if answer.status_code >= 400:
        assert not LEAKS.search(answer.text), where
    assert str(room.trial.root) not in answer.text, where
    assert "index of" not in answer.text.lower(), where  # no list of a folder
    if headers.get("content-type", "").startswith("text/html"):
        check_page(answer.text, where)


def paths(room):
    known = {
        "assignment": "0" * 24,
        "upload": "0" * 24,
        "number": 1,
        "name": "x",
        "job": "0" * 24,
        "pane": "flair",
    }
    known |= {"kind": "T2", "decision": "retry", "wish": "run", "scanner": 1, "person": "S02-CD"}
    found = {re.sub(r"{(\w+)}", lambda part: str(known[part[1]]), path) for _, path in endpoints(create_app(room))}
    return sorted(
        found | {"/static/site.css", "/static/", "/static/..%2Fapp.py", "/none", "/api/none", "/.git/config"}
    )


def test_headers_cookies_caches_and_error_pages(room, clients):
    """Each page and each fault, for each person; the answers are checked as they come (`clients`)."""
    for person, client in clients.items():
        for path in paths(room):
            if path != "/logout":
                assert client.get(path).status_code < 500, (person, path)
        for folder in ("/static/", "/static/upload/", "/office/", "/office/tables/", "/api/", "/site/reports/"):
            assert client.get(folder).status_code in {303, 307, 403, 404}, (person, folder)
    assert clients[""].post("/login", data={"login": "x", "password": "y"}).status_code == 401
    for size in (100, MOST_BYTES + 1):
        assert clients["DM"].post("/login", content=b"x" * size).status_code == (401 if size == 100 else 413)


def check_page(text, where):
    assert "<!--" not in text, where  # no comments
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:|https?://", text), where  # no other sites
    for form in re.findall(r"<form[^>]*>", text):
        assert "action=" not in form or re.search(r'action="/[\w/-]*"', form), (where, form)
    for field in re.findall(r'<input[^>]*type="password"[^>]*>', text):
        assert "autocomplete=" in field, (where, field)


def test_no_method_but_those_of_the_endpoints(room, clients):
    client, declared = clients["DM"], endpoints(create_app(room))
    allowed = {}
    for method, path in declared:
        allowed.setdefault(path, set()).add(method)
    for path, methods in allowed.items():
        target = re.sub(r"{\w+}", "1", path)
        for method in METHODS:
            if method in methods or (method == "HEAD" and "GET" in methods):
                continue
            assert client.request(method, target).status_code in {404, 405, 413}, (method, path)


def test_a_cookie_of_another_form_is_no_session(room):
    for value in ("x", "0" * 43, "' OR 1=1 --", "%00", "a" * 5000):
        client = browser(room)
        client.cookies.set(COOKIE, quote(value))
        assert client.get("/office").headers["location"] == "/login"
        assert client.get("/api/reading/x/case").status_code == 401


def test_no_address_leads_to_another_site(clients):
    """An open redirect would lead a signed-in person to a page that looks like the login."""
    for path in ("//evil.example", "/login?next=//evil.example", "/\\evil.example", "/%2F%2Fevil.example"):
        answer = clients["DM"].get(f"http://testserver{path}")
        assert "evil" not in answer.headers.get("location", ""), path


# --- any content: no fault of the server ------------------------------------------------------------------------

TEXT = st.text(max_size=60)
SEGMENT = st.one_of(
    st.integers(-2, 2**70).map(str),
    TEXT.map(lambda text: quote(text, safe="") or "-"),
    st.sampled_from(["0" * 24, "..", "x" * 300, "\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 120]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12,
)  # fmt: skip
NAMES = (
    "number", "op", "kind", "lesion", "decision", "old", "voxel", "pane", "client", "take_over", "login", "password",
    "seen", "size", "content", "subject", "visit", "before_infusion", "replace_because", "runs", "reason",
)  # fmt: skip
BODY = JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)
FORM = st.dictionaries(
    st.sampled_from([
        *NAMES, "text", "coil", "dummy_run", "clear_identity", "patient_changed", "provisional", "again", "new",
    ]),
    TEXT | st.just("x" * 3000), max_size=6,
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["X-Client", "Upload-Offset", "Upload-Checksum", "X-Automatic", "Content-Type", "If-Match"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), max_size=3,
)  # fmt: skip


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_no_request_is_answered_by_a_fault(room, clients, real, data):
    """Schemathesis' check ``not_a_server_error``, for each endpoint and person, with forms and headers as well."""
    known = sorted(endpoints(create_app(room)))
    method, path = data.draw(st.sampled_from([one for one in known if one[1] != "/logout"]))
    is_real = data.draw(st.booleans())
    target = re.sub(r"{(\w+)}", lambda part: real(path, part[1]) if is_real else data.draw(SEGMENT), path)
    query = data.draw(
        st.dictionaries(st.sampled_from(["state", "site", "since", "until", "subject", "action", "settled"]), TEXT)
    )
    client = clients[owner_of(path) if is_real else data.draw(st.sampled_from(PEOPLE))]
    body = {"json": data.draw(BODY)} if data.draw(st.booleans()) else {"data": data.draw(FORM)}
    if method in {"GET", "HEAD"}:
        body = {}
    answer = client.request(method, target, params=query, headers=data.draw(HEADERS), **body)
    no_images = path.startswith("/api/reading/") and answer.status_code == 503
    assert answer.status_code < 500 or no_images, answer.text
