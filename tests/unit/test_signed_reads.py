"""Signature at the lock by the reader's own account, and unlock for a correction."""

import io
import json
import shutil
import stat

import pytest

from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.exchange import replace_folder
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.accounts import key_digest, password_hash
from mri_pipeline.reading.signature import MEANING, signed_digest
from mri_pipeline.reading.store import folder_of, load_read, load_record
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import utc_now
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import Proof, lock_reads, unlock_read
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.audit_verify import verify_trial
from reading_centre.use_cases.trial.people import set_password
from reading_centre.use_cases.trial.staging import only_writer
from tests.unit.reading_trial import (
    READERS,
    copy_of,
    decide,
    edit_protocol,
    lesions_but_no_holes,
    opened,
    visits_of,
    write_unread_trial,
)

CODE, PASSWORD, KEY = "BENCH000", "correct horse battery", b"k" * 64
ACCOUNTS = f"""
[[readers]]
code = "R1"
password_hash = "{password_hash(PASSWORD)}"
[[readers]]
code = "R2"
key_sha256 = "{key_digest(KEY)}"
[[readers]]
code = "R3"
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    trial = write_unread_trial(tmp_path_factory.mktemp("signed") / "trial")
    export_reads(trial.root, trial.root.parent / "worklist")
    return trial


@pytest.fixture
def unsigned(original, tmp_path):
    """An analysed trial whose protocol lists no reader, and its worklist."""
    return copy_of(original, tmp_path, "worklist")


@pytest.fixture
def trial(unsigned):
    edit_protocol(unsigned, "readers = 1", "readers = 1", ACCOUNTS)
    return unsigned


def read(trial, reader, word=lesions_but_no_holes):
    return import_reads(trial.root, decide(trial.root.parent / "worklist", word), reader=reader)


def password(text):
    return Proof(password=lambda statement: text)


def key(tmp_path, content=KEY):
    path = tmp_path / "reader.key"
    path.write_bytes(content)
    return Proof(key_file=path)


def entries(trial, action):
    with opened(trial) as registry:
        registry.verify_audit()
        return registry.audit_entries(action)


def statuses(trial):
    return {visit.read for visit in visits_of(trial).values()}


@pytest.mark.requirement("READ-03")
def test_a_lock_is_signed_with_meaning_time_and_digest_of_all_that_counts(trial):
    read(trial, "R1")
    asked = []
    assert lock_reads(trial.root, reader="r1", proof=Proof(password=lambda s: asked.append(s) or PASSWORD)) == {
        "locked": 7
    }
    assert asked == [f"7 visits: {MEANING}."]
    signed = entries(trial, "read locked")
    assert len(signed) == 7
    for entry in signed:
        subject, visit = entry.target.split()
        record = load_record(trial.reads, subject, visit, "R1", 1)
        signature = entry.details["signature"]
        assert signature["meaning"] == "I have read these images and confirm the marks"
        assert signature["at"].endswith("+00:00")
        assert signature["signed"] == signed_digest(record, entry.details["inputs"])
        assert len(signature["account"]) == 64
        changed = json.loads(json.dumps(entry.details["inputs"]))
        changed["files"]["FLAIR.nii.gz"] = "0" * 64
        assert signed_digest(record, changed) != signature["signed"]
    assert PASSWORD not in str(entries(trial, "read locked"))


def test_a_reader_who_is_asked_holds_no_lock_of_a_subject(trial):
    read(trial, "R1")

    def ask(_statement):
        with only_writer(trial, CODE, wait_s=0):
            return PASSWORD

    assert lock_reads(trial.root, reader="R1", proof=Proof(password=ask)) == {"locked": 7}
    unlocked = unlock_read(
        trial.root, subject=CODE, visit="wk04", reader="R1", reason="x", proof=Proof(password=ask)
    )
    assert unlocked == {"unlocked": 1, "version": 1}


def test_reads_of_another_analysis_than_at_the_question_are_not_locked(trial):
    read(trial, "R1")

    def ask(_statement):
        folder = trial.derivatives.folder(CODE)
        shutil.copytree(folder, folder.with_name("new"))
        replace_folder(folder.with_name("new"), folder)
        return PASSWORD

    with pytest.raises(UsageError, match="found that some have changed since"):
        lock_reads(trial.root, reader="R1", proof=Proof(password=ask))


def test_reads_that_change_while_the_reader_is_asked_are_not_locked(trial):
    read(trial, "R1")

    def ask(_statement):
        decide(trial.root.parent / "worklist", lambda _code, _row: "reject")
        import_reads(trial.root, trial.root.parent / "worklist", reader="R1")
        return PASSWORD

    with pytest.raises(
        UsageError, match="expected the reads and analyses of the statement, found that some have changed since"
    ):
        lock_reads(trial.root, reader="R1", proof=Proof(password=ask))
    assert statuses(trial) == {ReadStatus.CONFIRMED}


def test_a_key_file_signs_too(trial, tmp_path):
    read(trial, "R2")
    assert lock_reads(trial.root, reader="R2", proof=key(tmp_path)) == {"locked": 7}
    assert entries(trial, "read locked")[0].details["signature"]["meaning"] == MEANING


@pytest.mark.parametrize(
    ("reader", "proof", "message"),
    [
        (
            "R1",
            lambda path: password("wrong horse battery"),
            "expected the password of reader R1, found a wrong password",
        ),
        ("R1", lambda path: password(""), "expected the password of reader R1, found a wrong password"),
        ("R1", key, "expected the key file of reader R1, found a wrong key"),
        ("R1", lambda path: None, "reader R1: expected an account in trial.toml, found none"),
        (
            "R2",
            lambda path: key(path, KEY + b"\n"),
            "expected the key file of reader R2, found a wrong key",
        ),
        ("R2", lambda path: password(PASSWORD), "reader R2: expected the reader's key file, found none"),
        ("R2", lambda path: Proof(key_file=path / "none"), "expected a key file that can be read, found none"),
        ("R3", lambda path: password(PASSWORD), "reader R3: expected an account in trial.toml, found none"),
    ],
)
@pytest.mark.requirement("READ-03")
def test_nothing_is_locked_without_the_readers_own_account(trial, tmp_path, reader, proof, message):
    read(trial, reader)
    with pytest.raises(UsageError, match=message):
        lock_reads(trial.root, reader=reader, proof=proof(tmp_path))
    assert statuses(trial) == {ReadStatus.CONFIRMED}
    assert entries(trial, "read locked") == []
    refused = entries(trial, "signature refused")
    assert [entry.reader for entry in refused] == ([reader] if "wrong" in message or "read, " in message else [])


def test_a_damaged_hash_is_a_fault_of_the_settings(trial):
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(text.replace("$argon2id$v=19$", "$argon2id$x"))
    read(trial, "R1")
    with pytest.raises(
        SettingsError, match="reader R1: expected an Argon2id hash as password_hash, found a damaged"
    ):
        lock_reads(trial.root, reader="R1", proof=password(PASSWORD))


def test_a_one_time_password_is_no_missing_account(unsigned):
    """All readers have one-time passwords alone: nothing is locked or unlocked without proof, nor with them."""
    line = f'one_time_password_hash = "{utc_now()} {password_hash(PASSWORD)}"'
    edit_protocol(unsigned, "readers = 1", "readers = 1", f'\n[[readers]]\ncode = "R1"\n{line}\n')
    read(unsigned, "R1")
    for proof in (None, password(PASSWORD)):
        with pytest.raises(UsageError, match="expected a password of the reader's own, found a one-time") as error:
            lock_reads(unsigned.root, reader="R1", proof=proof)
        assert "set your own password first" in error.value.hint
        with pytest.raises(UsageError, match="expected a password of the reader's own, found a one-time"):
            unlock_read(unsigned.root, subject=CODE, visit="wk04", reader="R1", reason="x", proof=proof)
    assert statuses(unsigned) == {ReadStatus.CONFIRMED}


def test_a_replaced_password_that_comes_back_signs_nothing(trial):
    """As after a copy of an earlier trial.toml."""
    before = trial.protocol_file.read_bytes()
    read(trial, "R1")
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        set_password(trial, registry, protocol.reader("R1"), "my own long password")
    trial.protocol_file.write_bytes(before)
    with pytest.raises(UsageError, match=r"trial\.toml has a password of reader R1 that was replaced since"):
        lock_reads(trial.root, reader="R1", proof=password(PASSWORD))
    assert [entry.reader for entry in entries(trial, "signature refused")] == ["R1"]


def test_without_accounts_reads_are_locked_as_before(unsigned):
    read(unsigned, "R1")
    assert lock_reads(unsigned.root, reader="R1") == {"locked": 7}
    assert all("signature" not in entry.details for entry in entries(unsigned, "read locked"))


# --- correction after the lock ----------------------------------------------------------------------------------


def versions(trial, *, provisional=True):
    write_trial_tables(trial.root, provisional=provisional)
    return {row["visit"]: row["read_version"] for row in read_table(trial.tables / "supplementary_timepoints.csv")}


def without_gel(_code, row):
    return "reject" if row["type"] in {"GEL", "BH"} else "accept"


@pytest.mark.requirement("READ-05")
def test_a_correction_is_a_new_version_linked_to_the_locked_one(trial):
    read(trial, "R1")
    lock_reads(trial.root, reader="R1", proof=password(PASSWORD))
    before = load_read(trial.reads, CODE, "wk04", "R1", 1)
    with pytest.raises(UsageError, match="expected an open read, found a locked one"):
        read(trial, "R1", without_gel)
    unlocked = unlock_read(
        trial.root, subject=CODE, visit="wk04", reader="R1", reason="GEL was a vessel", proof=password(PASSWORD)
    )
    assert unlocked == {"unlocked": 1, "version": 1}
    (entry,) = entries(trial, "read unlocked")
    assert entry.details == {
        "reason": "GEL was a vessel", "from": "locked", "to": "confirmed", "digest": before.record.digest, "version": 1,
    }  # fmt: skip
    state = visits_of(trial)["wk04"]
    assert (state.read, [(r.standing.value, r.version) for r in state.reads]) == (None, [("reopened", 1)])
    assert versions(trial, provisional=False)["wk04"] == ""  # not locked
    assert export_reads(trial.root, trial.root.parent / "again", reader="R1")["exported"] == 1
    folder = decide(trial.root.parent / "again", without_gel)
    assert import_reads(trial.root, folder, reader="R1")["confirmed"] == 1
    after = load_record(trial.reads, CODE, "wk04", "R1", 2)
    assert after.replaces == before.record.digest
    assert entries(trial, "read")[-1].details["replaces"] == {"digest": before.record.digest, "version": 1}
    assert load_read(trial.reads, CODE, "wk04", "R1", 1).record == before.record  # kept as it was
    assert lock_reads(trial.root, reader="R1", proof=password(PASSWORD)) == {"locked": 1}
    assert versions(trial, provisional=False) == {v: "2" if v == "wk04" else "1" for v in visits_of(trial)}
    assert len(entries(trial, "read locked")) == 8
    assert verify_trial(trial.root).deviations == ()
    earlier = next(folder_of(trial.reads, before.record).glob("*.nii.gz"))
    earlier.chmod(0o600)
    earlier.write_bytes(earlier.read_bytes()[:-1])
    (deviation,) = verify_trial(trial.root).deviations
    assert deviation.startswith(f"subject {CODE}, visit wk04, reader R1, version 1: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": " "}, "expected a text as reason, found none"),
        ({"reader": "R2", "proof": None}, "reader R2: expected the reader's key file"),
        (
            {"proof": password("wrong horse battery")},
            "expected the password of reader R1, found a wrong password",
        ),
        ({"subject": "BCDF2345"}, "expected a subject of the trial, found the unknown code"),
        ({"visit": "wk99"}, "expected a visit of the protocol"),
    ],
)
@pytest.mark.requirement("READ-05")
def test_unlock_needs_its_own_reader_and_a_reason(trial, change, message):
    read(trial, "R1")
    lock_reads(trial.root, reader="R1", proof=password(PASSWORD))
    call = {"subject": CODE, "visit": "wk04", "reader": "R1", "reason": "x", "proof": password(PASSWORD)} | change
    with pytest.raises(UsageError, match=message):
        unlock_read(trial.root, **call)
    assert statuses(trial) == {ReadStatus.LOCKED}


def test_what_is_not_locked_is_not_unlocked(unsigned):
    read(unsigned, "R1")
    with pytest.raises(UsageError, match="expected a locked read, found an open one"):
        unlock_read(unsigned.root, subject=CODE, visit="wk04", reader="R1", reason="x")
    lock_reads(unsigned.root, reader="R1")
    with pytest.raises(UsageError, match="expected a read by this reader that counts, found none"):
        unlock_read(unsigned.root, subject=CODE, visit="wk04", reader="R2", reason="x")


def test_a_reopened_read_is_compared_again(unsigned):
    trial = unsigned
    edit_protocol(trial, "readers = 1", "readers = 2", READERS)
    read(trial, "R1")
    read(trial, "R2")
    lock_reads(trial.root, reader="R1")
    visit = next(
        week
        for week in list(visits_of(trial))[1:]
        if load_read(trial.reads, CODE, week, "R1", 1).masks.gel.mask.any()
    )
    unlock_read(trial.root, subject=CODE, visit=visit, reader="R1", reason="GEL was a vessel")
    states = {r.reader: r.standing.value for r in visits_of(trial)[visit].reads}
    assert states == {"R1": "reopened", "R2": "compared"}
    assert export_reads(trial.root, trial.root.parent / "again", reader="R1")["exported"] == 1
    decide(trial.root.parent / "again", without_gel)
    summary = import_reads(trial.root, trial.root.parent / "again", reader="R1")
    assert (summary["confirmed"], summary["to_adjudicate"]) == (1, 1)
    assert export_reads(trial.root, trial.root.parent / "dispute", reader="ADJ")["exported"] == 1


# --- the command line -------------------------------------------------------------------------------------------


def test_the_command_asks_for_the_password_and_says_what_is_signed(trial, monkeypatch, capsys):
    read(trial, "R1")
    arguments = ["read", str(trial.root), "--reader", "R1"]
    monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
    assert cli.invoke([*arguments, "--lock"]) == 2
    assert "expected the password of reader R1, found a wrong password" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert cli.invoke([*arguments, "--lock"]) == 0
    captured = capsys.readouterr()
    assert "locked: 7" in captured.out
    assert f"7 visits: {MEANING}." in captured.err
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert cli.invoke([*arguments, "--unlock", f"{CODE}/wk12", "--reason", "a vessel"]) == 0
    assert visits_of(trial)["wk12"].read is None
    assert cli.invoke([*arguments, "--lock", "--unlock", f"{CODE}/wk12"]) == 2


def test_the_command_makes_accounts(trial, tmp_path, monkeypatch, capsys):
    arguments = ["read", str(trial.root), "--account", "--reader", "R3"]
    monkeypatch.setattr("sys.stdin", io.StringIO("a long pass phrase\n"))
    assert cli.invoke(arguments) == 0
    line = capsys.readouterr().out.strip()
    new = tmp_path / "r3.key"
    assert cli.invoke([*arguments, "--key-file", str(new)]) == 0
    key_line = capsys.readouterr().out.strip()
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    trial.protocol_file.write_text(trial.protocol_file.read_text() + f"{line}\n{key_line}\n")
    read(trial, "R3")
    assert lock_reads(trial.root, reader="R3", proof=password("a long pass phrase")) == {"locked": 7}
    unlock_read(trial.root, subject=CODE, visit="wk04", reader="R3", reason="x", proof=Proof(key_file=new))
    assert cli.invoke([*arguments, "--key-file", str(new)]) == 2
    assert "expected a new key file, found the existing file" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert cli.invoke(arguments) == 2
    assert "expected a password of at least 12 characters, found fewer" in capsys.readouterr().err
