"""Trials with many subjects and writers: PostgreSQL from the start, and a long audit trail."""

import json
import multiprocessing

import pytest
from sqlalchemy import text

from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol, parse_protocol, protocol_text, with_database_url
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry import Registry, ScanState, Use, verified
from mri_pipeline.registry.database import open_engine
from reading_centre import cli
from reading_centre.use_cases.office.status import trial_status
from reading_centre.use_cases.trial.audit import anchor_audit
from reading_centre.use_cases.trial.init import init_trial

WRITERS, SUBJECTS = 8, 2


def registry_of(root, use=Use.CHANGE):
    trial = Trial(root)
    return Registry.open(trial, load_protocol(trial.protocol_file), use)


@pytest.fixture
def on_postgresql(tmp_path, postgresql_url):
    return init_trial(tmp_path / "trial", database_url=postgresql_url).root


# --- PostgreSQL ------------------------------------------------------------------------------------------------


def test_init_lays_out_a_trial_on_postgresql(tmp_path, postgresql_url, capsys):
    trial = Trial(tmp_path / "trial")
    assert cli.invoke(["init", str(trial.root), "--database-url", postgresql_url]) == 0
    assert load_protocol(trial.protocol_file).database_url == postgresql_url
    assert not trial.registry_file.exists()
    with registry_of(trial.root) as registry:
        assert registry.database().system.startswith("postgresql")
        assert registry.audit_trail()[-1].action == "trial laid out"
    capsys.readouterr()
    assert cli.invoke(["init", str(tmp_path / "other"), "--database-url", postgresql_url]) == 2
    assert "expected an empty database" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql+psycopg://dbhost:S3cret/trial", "opened, found ValueError"),
        (
            "postgresql+psycopg://mri:S3cret@dbhost/trial",
            "PostgreSQL without a password, found one with a password",
        ),
        ("postgresql+psycopg://dbhost/trial?password=S3cret", "without a password, found one with a password"),
        ("sqlite:////tmp/S3cret.sqlite", "a URL of PostgreSQL without a password, found one of sqlite"),
    ],
)
def test_a_url_that_is_no_server_or_has_a_password_is_refused(tmp_path, capsys, url, found):
    assert cli.invoke(["init", str(tmp_path / "trial"), "--database-url", url]) == 2
    shown = capsys.readouterr().err
    assert found in shown
    assert "S3cret" not in shown
    assert not (tmp_path / "trial").exists()


def test_a_new_trial_never_takes_the_registry_of_another_one(tmp_path, on_postgresql, postgresql_url, monkeypatch):
    """Two `init` at once: the database was empty when both looked."""
    monkeypatch.setattr("reading_centre.use_cases.trial.init.require_unused", lambda url: None)
    with pytest.raises(UsageError, match="expected an empty database for the registry"):
        init_trial(tmp_path / "other", database_url=postgresql_url)
    with registry_of(on_postgresql) as registry:
        assert [entry.action for entry in registry.audit_trail()].count("trial laid out") == 1


def test_any_character_of_a_url_is_kept(tmp_path):
    url = 'postgresql+psycopg://mri@/trial?application_name=\N{BRAIN}"'
    assert parse_protocol(with_database_url(protocol_text(), url)).database_url == url


@pytest.mark.parametrize("url", ["postgresql+psycopg://nobody@/trial?host=/no/such/folder", "nodialect://x/y"])
def test_a_server_that_cannot_be_reached_leaves_no_folder(tmp_path, url):
    with pytest.raises(SettingsError, match="database_url: expected a database that can be opened"):
        init_trial(tmp_path / "trial", database_url=url)
    assert not (tmp_path / "trial").exists()


def _enter_scans(root, writer):
    with registry_of(root) as registry:
        for number in range(SUBJECTS):
            code = f"W{writer}N{number}"
            for visit in ("wk00", "wk04"):
                registry.record_scan(code, visit, site="S01", upload_digest=f"{code} {visit}")
            registry.record_analyses(
                code, {"wk00": (ScanStatus.ANALYSED, ""), "wk04": (ScanStatus.FAILED, "dark")}
            )


def test_eight_writers_at_once_lose_nothing(on_postgresql):
    with registry_of(on_postgresql) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="made")
        before = registry.verify_audit()[0]
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_enter_scans, args=(on_postgresql, number)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    with registry_of(on_postgresql) as registry:
        # per subject: entered, two scans received, one analysed, one failed
        assert registry.verify_audit()[0] == before + WRITERS * SUBJECTS * 5
        assert registry.differences_from_audit() == []
        found = {s.code: [visit.scan for visit in s.visits[:2]] for s in registry.state().subjects}
    codes = {f"W{writer}N{number}" for writer in range(WRITERS) for number in range(SUBJECTS)}
    assert found == {code: [ScanState.ANALYSED, ScanState.FAILED] for code in codes}


# --- a long audit trail ----------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def long_trail(request, tmp_path, monkeypatch):
    """A trial whose trail is long: the digest is kept from 20 entries on."""
    monkeypatch.setattr(verified, "STEP", 20)
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    trial = init_trial(tmp_path / "trial", database_url=url)
    with registry_of(trial.root) as registry:
        for number in range(30):
            registry.audit("note", target=str(number), details={"é": number})
    return trial.root


def damage(root, statement):
    """Change the trail behind the program and its triggers."""
    trial = Trial(root)
    url = load_protocol(trial.protocol_file).database_url
    engine = open_engine(url, trial.registry_file)
    with engine.begin() as connection:
        if url:
            connection.execute(text("SET session_replication_role = replica"))
        else:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for (name,) in names.all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(statement))
    engine.dispose()


def test_what_was_verified_is_kept_and_later_entries_are_verified(long_trail):
    file = Trial(long_trail).work / "audit_verified.json"
    with registry_of(long_trail) as registry:
        head = registry.verify_audit(quick=True)
        known = json.loads(file.read_text())
        assert (known["entries"], known["last"]) == head
        registry.audit("note", target="later")
        later = registry.verify_audit(quick=True)
        assert later == registry.verify_audit()
        assert later[0] == head[0] + 1
        assert json.loads(file.read_text()) == known  # one entry is not worth a new digest
    assert trial_status(long_trail).audit_entries == later[0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET details = '{\"x\": 1}' WHERE seq = 5",
        "UPDATE audit SET target = 'other' WHERE seq = 2",
        "UPDATE audit SET hash = previous WHERE seq = 7",
        "DELETE FROM audit WHERE seq = 9",
        "UPDATE audit SET target = 'other' WHERE seq = (SELECT max(seq) FROM audit)",
    ],
)
def test_a_change_of_what_was_verified_is_found(long_trail, statement):
    with registry_of(long_trail) as registry:
        registry.verify_audit(quick=True)
        registry.audit("note", target="later")
    damage(long_trail, statement)
    with registry_of(long_trail) as registry, pytest.raises(UsageError, match="expected an unbroken audit trail"):
        registry.verify_audit(quick=True)
    with pytest.raises(UsageError, match="expected an unbroken audit trail"):
        trial_status(long_trail)


@pytest.mark.parametrize("content", ["", "{}", '{"entries": 5, "last": "x", "digest": "y"}', None])
def test_a_kept_digest_that_is_wrong_or_missing_changes_nothing(long_trail, content):
    file = Trial(long_trail).work / "audit_verified.json"
    with registry_of(long_trail) as registry:
        head = registry.verify_audit(quick=True)
        file.unlink() if content is None else file.write_text(content)
        assert registry.verify_audit(quick=True) == head


def test_numbers_and_anchors_depend_on_every_hash(long_trail, tmp_path):
    """Who can write the registry can write the kept digest, too."""
    with registry_of(long_trail) as registry:
        registry.verify_audit(quick=True)
    damage(long_trail, "UPDATE audit SET target = 'other' WHERE seq = 2")
    (Trial(long_trail).work / "audit_verified.json").unlink()
    with registry_of(long_trail) as registry, pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified, "verify_chain", lambda entries, **_: (sum(1 for _ in entries), "f" * 64))
        registry.verify_audit(quick=True)  # as an attacker computes the digest of the present rows
    with registry_of(long_trail) as registry:
        registry.verify_audit(quick=True)
        with pytest.raises(UsageError, match="expected an unbroken audit trail"):
            registry.verify_audit()
    trial = Trial(long_trail)
    with pytest.raises(UsageError, match="expected an unbroken audit trail"):
        Registry.open(trial, load_protocol(trial.protocol_file), Use.NUMBERS)
    with pytest.raises(UsageError, match="expected an unbroken audit trail"):
        anchor_audit(long_trail, tmp_path / "anchor.json")
