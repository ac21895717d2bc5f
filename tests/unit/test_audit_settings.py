"""The settings of trial.toml in the audit trail."""

import json

import pytest

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol, parse_protocol, protocol_text
from mri_pipeline.registry import Gate, Registry, Use
from mri_pipeline.registry.settings import settings_of
from reading_centre import cli
from reading_centre.use_cases.office.status import trial_status
from reading_centre.use_cases.trial.audit_verify import verify_trial
from reading_centre.use_cases.trial.init import init_trial

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g"
READER = f'\n[[readers]]\ncode = "R1"\npassword_hash = "{HASH}"\n'


@pytest.fixture
def trial(tmp_path):
    return init_trial(tmp_path / "trial")


def opened(trial: Trial, use: Use = Use.CHANGE) -> Registry:
    return Registry.open(trial, load_protocol(trial.protocol_file), use)


def settings_entries(trial: Trial):
    with opened(trial, Use.SHOW) as registry:
        return registry.audit_entries("settings changed")


def edit(trial: Trial, old: str, new: str, more: str = "") -> None:
    text = trial.protocol_file.read_text()
    assert old in text
    trial.protocol_file.write_text(text.replace(old, new) + more)


@pytest.mark.requirement("AUDIT-06")
def test_a_new_trial_states_all_settings_first(trial):
    (entry,) = settings_entries(trial)
    assert entry.seq == 1
    assert entry.target == "trial.toml"
    assert entry.details == {"old": {}, "new": settings_of(load_protocol(trial.protocol_file))}
    for name in (
        "name",
        "visits.wk04.week",
        "sequences.FLAIR.required",
        "lesions.combined_counts_persistent_gel",
        "reading.readers",
    ):
        assert name in entry.details["new"], sorted(entry.details["new"])
    opened(trial).close()
    assert len(settings_entries(trial)) == 1


@pytest.mark.requirement("AUDIT-06")
def test_a_change_is_recorded_with_both_values_by_the_next_command_that_writes(trial):
    edit(trial, "deface = true", "deface = false", READER)
    trial_status(trial.root)
    found = verify_trial(trial.root).deviations
    assert "trial.toml: reading.deface was changed without an entry in the audit trail" in found
    assert cli.invoke(["query", "list", str(trial.root)]) == 0
    assert len(settings_entries(trial)) == 1
    opened(trial).close()
    entry = settings_entries(trial)[-1]
    assert entry.details["old"] == {"reading.deface": True, "readers": []}
    new = entry.details["new"]
    assert (new["reading.deface"], new["readers.R1.code"], new["readers.R1.role"]) == (False, "R1", "reader")
    assert entry.os_user
    assert verify_trial(trial.root).deviations == ()


def test_a_removed_table_has_no_new_value(trial):
    edit(trial, "", "", READER)
    opened(trial).close()
    trial.protocol_file.write_text(trial.protocol_file.read_text().replace(READER, ""))
    opened(trial).close()
    details = settings_entries(trial)[-1].details
    assert details["old"]["readers.R1.code"] == "R1"
    assert details["new"] == {"readers": []}
    opened(trial).close()
    assert len(settings_entries(trial)) == 3


def test_the_trail_has_no_password():
    text = protocol_text() + READER
    url = 'database_url = "postgresql+psycopg://centre:secret@db/trial"\n'
    settings = json.dumps(settings_of(parse_protocol(url + text)))
    assert HASH not in settings
    assert "secret" not in settings
    assert "postgresql+psycopg://centre:***@db/trial" in settings
    query = 'database_url = "postgresql+psycopg://db/trial?user=centre&password=secret"\n'
    assert "secret" not in json.dumps(settings_of(parse_protocol(query + text)))
    other = settings_of(parse_protocol(text.replace("aGFzaGhhc2g", "aGFzaGhhc2h")))
    assert other["readers.R1.password_hash"] != settings_of(parse_protocol(text))["readers.R1.password_hash"]


def test_the_trail_has_no_trial_number():
    text = protocol_text() + '\n[[sites]]\ncode = "S07"\nsubjects = ["0017", "0018"]\n'
    settings = settings_of(parse_protocol(text))
    assert settings["sites.S07.subjects"] == "2 numbers"
    assert "0017" not in json.dumps(settings)


def test_a_command_that_shows_enters_no_site(trial):
    edit(trial, "deface = true", "deface = true", '\n[[sites]]\ncode = "S77"\n')
    state = trial_status(trial.root)
    assert "S77" in str(state)
    with opened(trial, Use.SHOW) as registry:
        assert registry.site("S77").gate is Gate.NONE
        assert "S77" not in [entry.target for entry in registry.audit_trail()]
    with opened(trial) as registry:
        assert "S77" in [entry.target for entry in registry.audit_trail()]


def test_a_trail_of_an_earlier_version_is_no_deviation(trial, monkeypatch):
    monkeypatch.setattr("mri_pipeline.registry.audit_queries.recorded_settings", lambda session: {})
    assert verify_trial(trial.root).deviations == ()
