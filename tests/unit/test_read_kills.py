"""SIGKILL during import, comparison, lock and unlock: registry, files and tables agree, and a repetition ends."""

import json
import os
import random
import shutil
import signal
import time

import pytest

from mri_pipeline.reading import confirmed
from mri_pipeline.reading.store import load_read
from mri_pipeline.registry import Registry
from reading_centre.use_cases.reading import lock as read_lock
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads, unlock_read
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.reading_trial import READERS, decide, edit_protocol, opened, visits_of, write_unread_trial

CODE = "BENCH000"
WEEKS = ("wk00", "wk04")
CHANGES = (
    (confirmed, "stage_read"),
    (confirmed, "place_read"),
    (read_lock, "protect_read"),
    (read_lock, "keep_inputs"),
    (Registry, "record_reads"),
    (Registry, "record_comparison"),
    (Registry, "lock_reads"),
    (Registry, "unlock_read"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A trial in which the first reader has read two visits, and the second reader's worklist of them."""
    trial = write_unread_trial(tmp_path_factory.mktemp("kills") / "trial")
    edit_protocol(trial, "readers = 1", "readers = 2", READERS)
    worklist = trial.root.parent / "worklist"
    export_reads(trial.root, worklist)
    proposals = [trial.reads / CODE / week / "proposed" / "proposal.json" for week in WEEKS]
    chosen = {json.loads(path.read_bytes())["reading_code"] for path in proposals}
    decide(worklist, codes=chosen)
    import_reads(trial.root, worklist, reader="R1")
    return trial


def copied(original, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original.root, folder / "trial")
    return type(original)(folder / "trial")


def guard(step):
    """Kill this process at event number `step`: each change gives one event before it and one after it."""
    seen = -1

    def event():
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def guarded(plain):
        def call(*args, **kwargs):
            event()
            result = plain(*args, **kwargs)
            event()
            return result

        return call

    for owner, name in CHANGES:
        setattr(owner, name, guarded(getattr(owner, name)))


def in_child(act, *, step=None, after_s=None):
    """Run `act` in another process; True if it came to its end."""
    child = os.fork()
    if not child:
        try:
            if step is not None:
                guard(step)
            act()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the exit status
            os._exit(1)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def state(trial):
    """What the registry knows of the reads, without times; every known read is whole."""
    found = {}
    with opened(trial) as registry:
        registry.verify_audit()
        assert registry.differences_from_audit() == []
    for week, visit in visits_of(trial).items():
        for read in visit.reads:
            stored = load_read(trial.reads, CODE, week, read.reader, read.version)
            assert stored.record.digest == read.digest
            found[week, read.reader] = (read.status.value, read.standing.value, read.version)
    written = write_trial_tables(trial.root, provisional=True)
    assert written.refused == {}
    return found


def import_second(trial, worklist):
    return lambda: import_reads(trial.root, worklist, reader="R2")


def lock(trial, worklist):
    return lambda: lock_reads(trial.root, reader="R1")


def unlock(trial, worklist):
    return lambda: unlock_read(trial.root, subject=CODE, visit="wk04", reader="R1", reason="x")


def correct(trial, worklist):
    return lambda: import_reads(trial.root, worklist, reader="R1")


COMMANDS = {"import": import_second, "lock": lock, "unlock": unlock, "correct": correct}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_is_whole_or_has_not_happened(original, tmp_path, name):
    """Killed before and after each of its changes."""
    start = copied(original, tmp_path / "start")
    worklist = original.root.parent / "worklist"
    for earlier in list(COMMANDS)[: list(COMMANDS).index(name)]:
        COMMANDS[earlier](start, worklist)()
    before = state(start)
    done = copied(start, tmp_path / "done")
    COMMANDS[name](done, worklist)()
    after = state(done)
    assert after != before
    step, ended = 0, False
    while not ended:
        trial = copied(start, tmp_path / "killed")
        ended = in_child(COMMANDS[name](trial, worklist), step=step)
        found = state(trial)
        assert ended <= (found == after)
        between = {key: value for key, value in found.items() if value != before.get(key)}
        assert all(value == after[key] or value[1] == "open" for key, value in between.items())
        if found != after:
            COMMANDS[name](trial, worklist)()
            assert state(trial) == after
        step += 1
    assert step > 2


@pytest.mark.slow
def test_kills_at_random_moments(original, tmp_path):
    worklist = original.root.parent / "worklist"
    trial = copied(original, tmp_path / "trial")
    started = time.monotonic()
    import_second(trial, worklist)()
    duration_s = time.monotonic() - started
    after = state(trial)
    moments = random.Random(7)
    for _ in range(8):
        trial = copied(original, tmp_path / "trial")
        in_child(import_second(trial, worklist), after_s=moments.uniform(0, 1.2 * duration_s))
        state(trial)
        import_second(trial, worklist)()
        assert state(trial) == after
        assert not list(trial.reads.glob(".incoming-*"))
