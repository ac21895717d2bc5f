"""Authenticator apps: codes by RFC 6238, used once; added by the person, removed by person or administrator."""

import base64
import re
import threading

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.one_time_codes import STEP_S, code_at, new_secret, step_of
from mri_pipeline.registry import second_factors
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.trial.people import remove_app
from tests.unit.reading_trial import copy_of
from tests.unit.web_trial import PASSWORDS, browser, opened_room, write_web_trial

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
PASSWORD = PASSWORDS["R1"]
NOW = 1_800_000_015.0
STEP = int(NOW) // STEP_S


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_web_trial(tmp_path_factory.mktemp("factor") / "trial")


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


@pytest.fixture
def room(trial):
    with opened_room(trial) as room:
        yield room


@pytest.fixture
def clock(monkeypatch):
    """The time of the server, which the test moves."""
    now = [NOW]
    monkeypatch.setattr(second_factors.time, "time", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [(59, "94287082"), (1111111109, "07081804"), (1111111111, "14050471"), (1234567890, "89005924"),
     (2000000000, "69279037"), (20000000000, "65353130")],
)  # fmt: skip
def test_codes_are_those_of_the_rfc(time_s, expected):
    """RFC 6238, appendix B, SHA-1; the last six of eight digits."""
    assert code_at(RFC_SECRET, time_s // STEP_S) == expected[-6:]


@pytest.mark.parametrize(("off", "valid"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_holds_for_one_step_before_and_after(off, valid):
    secret = new_secret()
    found = step_of(secret, code_at(secret, STEP + off), now_s=NOW)
    assert found == (STEP + off if valid else None)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "-12345", "12345\x00"])
def test_what_is_no_code_is_wrong(code):
    assert step_of(RFC_SECRET, code, now_s=NOW) is None


def with_app(room, clock):
    """The secret of R1, who is signed in and has added an app."""
    client = browser(room, "R1")
    answer = client.post("/authenticator", data={"password": PASSWORD})
    secret = re.search(r'id="secret">([A-Z2-7]{32})<', answer.text)[1]
    assert f"secret={secret}&amp;issuer=" in answer.text
    assert secret not in client.get("/authenticator").text  # it was shown once
    wrong = client.post("/authenticator/confirm", data={"code": "000000"})
    assert wrong.status_code == 422
    assert secret not in wrong.text
    assert client.post("/authenticator/confirm", data={"code": code_at(secret, STEP)}).status_code == 303
    clock[0] += STEP_S
    return client, secret


def login(room, **fields):
    form = {"login": "R1", "password": PASSWORD} | fields
    return browser(room).post("/login", data=form).status_code


def test_a_login_needs_a_code_that_was_not_used(room, clock):
    _, secret = with_app(room, clock)
    present = code_at(secret, STEP + 1)
    assert login(room) == login(room, code="000000") == 401
    assert login(room, code=code_at(secret, STEP)) == 401  # used for the confirmation
    assert login(room, code=present, password="wrong password") == 401
    assert login(room, code=f"{present[:3]} {present[3:]}") == 303
    assert login(room, code=present) == 401
    assert login(room, code=code_at(secret, STEP + 2)) == 303  # a clock that is fast
    assert login(room, code=present) == 401
    assert browser(room, "R2").get("/").status_code == 200  # without an app


def test_two_logins_at_once_do_not_use_one_code(room, clock):
    _, secret = with_app(room, clock)
    code, answers = code_at(secret, STEP + 1), []
    use = lambda: answers.append(room.registry.second_factors.accepts("R1", code))  # noqa: E731
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_wrong_codes_lock_the_account_out(room, clock):
    _, secret = with_app(room, clock)
    assert [login(room, code=f"{n:06}") for n in range(5)] == [401] * 5
    assert login(room, code=code_at(secret, STEP + 1)) == 429


def begun(client):
    """The secret of an app that is being added."""
    answer = client.post("/authenticator", data={"password": PASSWORD})
    return re.search(r'id="secret">([A-Z2-7]{32})<', answer.text)[1]


def confirmed(client, code):
    return client.post("/authenticator/confirm", data={"code": code}).status_code


def test_wrong_first_codes_lock_the_account_out_and_are_in_the_audit_trail(room, clock):
    client = browser(room, "R1")
    secret = begun(client)
    assert [confirmed(client, f"{n:06}") for n in range(5)] == [422] * 5
    assert confirmed(client, code_at(secret, STEP)) == login(room) == 429
    assert not room.registry.second_factors.is_on("R1")
    refused = room.registry.audit_entries(AuditAction.LOGIN_REFUSED)
    assert [entry.reader for entry in refused] == ["R1"] * 5


def test_a_right_first_code_ends_the_count(room, clock):
    client = browser(room, "R1")
    secret = begun(client)
    assert [confirmed(client, f"{n:06}") for n in range(4)] == [422] * 4
    assert confirmed(client, code_at(secret, STEP)) == 303
    assert login(room, code="000000") == 401  # the first failure, not the fifth


@pytest.mark.parametrize(("seconds", "status"), [(15 * 60 - STEP_S, 303), (15 * 60, 422)])
def test_a_secret_without_a_code_expires_after_15_minutes(room, clock, seconds, status):
    client = browser(room, "R1")
    secret = begun(client)
    clock[0] += seconds
    assert confirmed(client, code_at(secret, int(clock[0]) // STEP_S)) == status
    assert room.registry.second_factors.is_on("R1") is (status == 303)
    if status == 422:  # begin again
        assert confirmed(client, code_at(begun(client), int(clock[0]) // STEP_S)) == 303


def test_an_app_that_was_not_confirmed_is_not_asked_for(room, clock):
    client = browser(room, "R1")
    assert begun(client) != begun(client)
    assert room.registry.audit_entries(AuditAction.SECOND_FACTOR_REMOVED) == []
    assert login(room) == 303
    assert not room.registry.second_factors.is_on("R1")


def test_only_password_and_code_together_remove_an_app(room, clock):
    client, secret = with_app(room, clock)
    code = code_at(secret, STEP + 1)
    for form in ({"password": PASSWORD}, {"code": code}, {"password": PASSWORD, "code": "000000"}):
        assert client.post("/authenticator", data=form).status_code == 401
    assert room.registry.second_factors.is_on("R1")
    assert client.post("/authenticator", data={"password": PASSWORD, "code": code}).status_code == 303
    assert login(room) == 303
    added, removed = (
        room.registry.audit_entries(action)
        for action in (AuditAction.SECOND_FACTOR_ADDED, AuditAction.SECOND_FACTOR_REMOVED)
    )
    assert [entry.reader for entry in (*added, *removed)] == ["R1", "R1"]
    assert secret not in str([room.registry.audit_entries(action) for action in AuditAction])


def test_the_administrator_removes_the_app_of_a_lost_device(trial, room, clock):
    with_app(room, clock)
    remove_app(trial.root, person="r1")
    assert login(room) == 303
    (entry,) = room.registry.audit_entries(AuditAction.SECOND_FACTOR_REMOVED)
    assert (entry.reader, entry.details) == ("", {"of": "R1"})
    with pytest.raises(UsageError, match=r"expected an authenticator app of R1, found none"):
        remove_app(trial.root, person="R1")


def test_a_signature_and_a_new_password_need_no_code(room, clock):
    client, _ = with_app(room, clock)
    form = {"password": PASSWORD, "new": "a new long password", "again": "a new long password"}
    assert client.post("/password", data=form).status_code == 303
    assert login(room, password="a new long password") == 401
