"""A subject's results are whole at every moment of their publication, and the next run ends as an undisturbed one."""

import multiprocessing
import shutil
import signal
import threading
from pathlib import Path

import pytest

from mri_pipeline.analysis import publication
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import exchange
from mri_pipeline.core.io.exchange import read_whole, replace_folder
from tests.unit.kill_points import Guard
from tests.unit.test_batch import make_job

FORK = multiprocessing.get_context("fork")  # the imports of a new process would take longer than the test
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
STEPS = (
    "scans",
    "text beside",
    "provenance",
    "flush",
    "report",
    "replace folder",
    "flush names",
    "remove earlier",
    "remove stage",
)


def analyse(folder, value):
    """Publish `value` as the results of a subject."""
    job = make_job(folder, "AB12", beside={"index.json": value})
    unfinished = publication.staged(job)
    for visit in ("a", "b"):
        anat = DerivativeDataset(unfinished.derivatives).anat("AB12", visit)
        anat.mkdir(parents=True)
        for name in ("mask", "image"):
            (anat / name).write_text(value)
    unfinished.reports.mkdir()
    (unfinished.reports / "sub-AB12.html").write_text(value)
    publication.publish(job, unfinished)


def results(folder):
    """Content of all files but the provenance, which fits them."""
    root = make_job(folder, "AB12").derivatives
    derivatives = DerivativeDataset(root)
    stated = publication.Provenance.model_validate_json(derivatives.provenance("AB12").read_bytes())
    assert stated.outputs == publication.output_digests(derivatives, "AB12")
    files = (
        path for path in root.rglob("*") if path.is_file() and path.name != derivatives.provenance("AB12").name
    )
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


def _killed_at(step, folder, value):
    """`analyse`, killed before step number `step` of the publication."""
    guarded = Guard(step)
    for module, name in (
        (publication, "write_atomic"), (publication, "sync_tree"), (exchange, "_exchange"), (exchange, "sync_folder"),
    ):  # fmt: skip
        setattr(module, name, guarded(getattr(module, name)))
    move, remove = Path.replace, shutil.rmtree

    def replace(self, target):
        return (guarded(move) if self.suffix == ".html" else move)(self, target)

    def rmtree(path):
        return (guarded(remove) if guarded.seen >= 0 else remove)(path)

    Path.replace, exchange.shutil.rmtree = replace, rmtree
    analyse(folder, value)


@pytest.mark.parametrize("moment", STEPS)
@pytest.mark.requirement("RUN-01")
def test_a_kill_leaves_the_earlier_results_or_the_new_ones(tmp_path, moment):
    analyse(tmp_path, "old")
    undisturbed = results(tmp_path)
    process = FORK.Process(target=_killed_at, args=(STEPS.index(moment), tmp_path, "new"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    found = {name: text for name, text in results(tmp_path).items() if name.startswith("sub-AB12/")}
    published = STEPS.index(moment) > STEPS.index("replace folder")
    assert found == {name: "new" if published else "old" for name in undisturbed if name.startswith("sub-AB12/")}
    analyse(tmp_path, "old")
    assert results(tmp_path) == undisturbed


def test_every_step_is_among_those_moments(tmp_path):
    analyse(tmp_path, "old")
    process = FORK.Process(target=_killed_at, args=(len(STEPS), tmp_path, "new"))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert set(results(tmp_path).values()) == {"new"}


def test_a_system_without_exchange_replaces_in_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_exchange", lambda *_: False)
    analyse(tmp_path, "old")
    before = set(results(tmp_path))
    analyse(tmp_path, "new")
    assert results(tmp_path) == dict.fromkeys(before, "new")


def make_folder(folder, value):
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text(value)
    return folder


def test_who_reads_during_publications_sees_one_state(tmp_path):
    place, stop = make_folder(tmp_path / "place", "0"), threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            replace_folder(make_folder(tmp_path / f"new{number}", str(number)), place)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = set()
        for _ in range(300):
            one, two = read_whole(place, lambda: tuple((place / name).read_text() for name in ("one", "two")))
            assert one == two
            seen.add(one)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1


def test_a_fault_of_the_files_is_a_fault(tmp_path):
    def read():
        raise UsageError("expected a result, found none")

    with pytest.raises(UsageError, match="expected a result, found none"):
        read_whole(tmp_path, read)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "none", (tmp_path / "none" / "file").read_text)


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"", None])
def test_a_damaged_file_beside_current_results_is_written_anew(tmp_path, damaged):
    analyse(tmp_path, "new")
    job = make_job(tmp_path, "AB12", beside={"index.json": "new"})
    file = DerivativeDataset(job.derivatives).folder("AB12") / "index.json"
    file.unlink() if damaged is None else file.write_bytes(damaged)
    publication.leave_current(job)
    assert file.read_text() == "new"
