"""C-STORE into the gate: whole studies of known senders alone, and nothing that identifies a patient stays behind."""

import datetime as dt
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.acse import ACSE
from pynetdicom.sop_class import MRImageStorage, Verification

from mri_pipeline.core.errors import (
    ComplianceError,
    IdentityError,
    SettingsError,
    UnreadableUploadError,
    UnsafeUploadError,
    UsageError,
)
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol, parse_protocol, protocol_text
from qc import conversion
from reading_centre import cli
from reading_centre.use_cases.trial.private_folder import sweep
from reading_centre.use_cases.uploads import receive
from reading_centre.use_cases.uploads.incoming import Incoming, Study
from reading_centre.use_cases.uploads.quarantine import list_quarantine, retry_upload
from reading_centre.use_cases.uploads.receive import Node, receive_studies, subject_and_visit
from tests.unit import dicom_factory as factory
from tests.unit.ingest_trial import SMALL, agree, ingest, new_trial, opened, upload
from workflows.interfaces import intake as steps

pytestmark = pytest.mark.usefixtures("no_image_checks")
DCMTK = shutil.which("storescu") is not None
NAMES = ("Mustermann", "HOSP-4711", "Erika", "19640812")


@pytest.fixture
def trial(tmp_path):
    trial = new_trial(tmp_path / "trial")
    text = trial.protocol_file.read_text()
    text = text.replace('code = "S01"', 'code = "S01"\nae_titles = ["PACS01", "MR 01"]', 1)
    text = text.replace('code = "S02"', 'code = "S02"\nae_titles = ["PACS02"]\nsubjects = ["0201"]', 1)
    text = text.replace(
        "min_coverage_mm = { value = 120.0", "min_coverage_mm = { value = 10.0"
    )  # of small objects
    trial.protocol_file.write_text(text)
    return trial


def visit_files(folder, *, visit="wk00", subject="0001", specs=SMALL, **patient):
    extra = {"ClinicalTrialSubjectID": subject, "ClinicalTrialTimePointID": visit}
    extra = {keyword: value for keyword, value in extra.items() if value}
    specs = tuple(replace(spec, extra=spec.extra | extra) for spec in specs)
    factory.write_visit(folder, specs, replace(factory.Patient(), **patient))
    return sorted(folder.iterdir())


@contextmanager
def running(trial, *, quiet_s=1.5, broken_s=4.0, waiting=None):
    """A node in a thread; yields its port and the lines that it reports on finished studies."""
    lines, stop, faults = [], threading.Event(), []

    def work():
        try:
            receive_studies(
                trial.root,
                Node("127.0.0.1", 0, quiet_s=quiet_s, broken_s=broken_s),
                stop=stop,
                report=lines.append,
                waiting=waiting,
            )
        except BaseException as error:  # noqa: BLE001 - for the assertion below
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(lambda: lines or faults)
        assert not faults
        yield int(lines[0].split(":")[1].split()[0]), lines
    finally:
        stop.set()
        thread.join(180)
    assert not faults
    assert not thread.is_alive()


def wait_for(condition, seconds=600.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def send(port, files, *, calling="PACS01"):
    """Send with dcmtk, or with pynetdicom where it is missing. True if every object was stored."""
    if DCMTK:
        command = ["storescu", "-aet", calling, "-aec", "MRI_PIPELINE", "127.0.0.1", str(port), *map(str, files)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    with association(port, calling) as assoc:
        return assoc.is_established and all(assoc.send_c_store(dcmread(file)).Status == 0 for file in files)


def echo(port, calling):
    if DCMTK:
        command = ["echoscu", "-aet", calling, "-aec", "MRI_PIPELINE", "127.0.0.1", str(port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    with association(port, calling) as assoc:
        return assoc.is_established and assoc.send_c_echo().Status == 0


@contextmanager
def association(port, calling="PACS01"):
    entity = AE(ae_title=calling)
    entity.add_requested_context(MRImageStorage)
    entity.add_requested_context(Verification)
    assoc = entity.associate("127.0.0.1", port)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def private_files(trial):
    return [path for path in trial.work.rglob("*") if path.is_file() and path.name != "private.lock"]


@pytest.mark.skipif(not DCMTK and not os.environ.get("CI"), reason="no dcmtk: apt-get install dcmtk")
def test_dcmtk_is_the_sender_in_ci():
    """The other tests fall back to pynetdicom; CI says so by a failure of this one alone."""
    assert DCMTK, "dcmtk could not be installed"


def test_a_whole_study_passes_the_gate(trial, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    files = visit_files(tmp_path / "visit")
    with running(trial, broken_s=3600.0) as (port, lines):  # the halves may come long after each other
        assert echo(port, "PACS01")
        assert send(port, files[:20])  # two associations of one study
        assert send(port, files[20:], calling="MR 01")
        wait_for(lambda: len(lines) > 1)
        assert private_files(trial)  # the lock of the owner
    (held,) = agree(trial)
    assert lines[1].startswith(f"site S01: study of 48 objects: {held.subject} wk00 accepted")
    assert len(lines) == 2, lines
    assert not private_files(trial)
    own = [
        record.getMessage() for record in caplog.records if not record.name.startswith(("pynetdicom", "filelock"))
    ]
    assert not any(name in text for name in NAMES for text in (*lines, *own))


def test_a_sender_that_closes_before_the_release_is_handled_has_not_broken_off(trial, tmp_path, monkeypatch):
    """The connection is closed by another thread than the one that handles the release."""
    answer = ACSE.send_release

    def slow(acse, **keywords):
        answer(acse, **keywords)
        time.sleep(2.0)

    monkeypatch.setattr(ACSE, "send_release", slow)
    said = []
    with running(trial, broken_s=3600.0, waiting=said.append) as (port, lines):
        assert send(port, visit_files(tmp_path / "visit"))
        wait_for(lambda: len(lines) > 1)
    assert "accepted" in lines[1]
    assert not any("broke off" in line for line in said), said


def test_the_same_study_sent_again_is_known_and_another_scan_goes_to_quarantine(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    later = visit_files(tmp_path / "other", study_uid="1.2.826.0.1.3680043.8.498.2002")
    with running(trial) as (port, lines):
        for number, sent in enumerate((files, files, later), start=2):
            assert send(port, sent)
            wait_for(lambda number=number: len(lines) == number)
    assert ["in quarantine" in line for line in lines[1:]] == [False, False, True]
    (entry,) = list_quarantine(trial.root)
    assert "wk00" in entry.reason
    assert entry.upload is not None
    assert len(agree(trial)) == 1


def test_a_study_may_arrive_during_the_intake_of_another_one(trial, tmp_path, monkeypatch):
    """Nipype changes the working directory of the process; two studies and a relative trial folder do not mind."""
    monkeypatch.chdir(tmp_path)
    first = visit_files(tmp_path / "first")
    later = factory.Patient().begin + dt.timedelta(days=28)
    specs = tuple(replace(spec, number=spec.number + 10) for spec in SMALL)
    second = visit_files(tmp_path / "second", visit="wk04", specs=specs, study_uid="1.2.3.4", begin=later)
    reached, stored = threading.Event(), threading.Event()

    def slow(*args, measure=steps.measure_visit):
        reached.set()
        assert stored.wait(60)
        return measure(*args)

    monkeypatch.setattr(steps, "measure_visit", slow)
    with running(Trial(Path("trial"))) as (port, lines):
        assert send(port, first)
        assert reached.wait(60)
        assert Path.cwd().is_relative_to(trial.work)
        assert send(port, second)
        stored.set()
        wait_for(lambda: len(lines) > 2)
    assert "wk00 accepted" in lines[1]
    assert "wk04 accepted" in lines[2]
    assert Path.cwd() == tmp_path
    assert len(agree(trial)) == 2
    assert not private_files(trial)


def test_unknown_calling_ae_titles_are_rejected(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    with running(trial) as (port, lines):
        assert not echo(port, "STRANGER")
        assert not echo(port, "pacs01")
        assert not send(port, files[:2], calling="STRANGER")
        time.sleep(1.5)
    assert len(lines) == 1
    assert not list_quarantine(trial.root)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"visit": ""}, r"expected one visit .* found none"),
        ({"visit": "week 0"}, r"expected one visit .* found a text that is no visit"),
        ({"subject": ""}, r"expected one trial number .* found none"),  # a hospital number is no trial number
    ],
)
def test_a_study_without_subject_or_visit_waits_in_quarantine(trial, tmp_path, options, reason):
    with running(trial) as (port, lines):
        assert send(port, visit_files(tmp_path / "visit", **options))
        wait_for(lambda: len(lines) > 1)
    (entry,) = list_quarantine(trial.root)
    assert lines[1] == f"site S01: study of 48 objects: in quarantine: {entry.reason}"
    assert "mri-pipeline quarantine retry TRIAL ENTRY --subject N --visit V" in entry.next_step
    assert re.search(reason, entry.reason)
    taken = retry_upload(trial.root, entry.name, subject="0001", visit="wk00")
    assert [(held.subject, held.visit) for held in agree(trial)] == [(taken.subject, "wk00")]


def study_of(tmp_path, site="S01", **values):
    return Study(site, tmp_path, **{name: set(value) for name, value in values.items()})


def test_where_subject_and_visit_come_from(trial, tmp_path):
    protocol = load_protocol(trial.protocol_file)
    known = study_of(tmp_path, site="S02", patients=["0201"], descriptions=["WK04"])
    assert subject_and_visit(known, protocol) == ("0201", "wk04")
    stated = study_of(tmp_path, subjects=["7"], patients=["H1"], visits=["wk12"], descriptions=["MS study"])
    assert subject_and_visit(stated, protocol) == ("7", "wk12")
    for values in ({"subjects": ["1", "2"], "visits": ["wk00"]}, {"subjects": ["1"], "visits": ["wk00", "wk04"]}):
        with pytest.raises(ComplianceError, match="found 2 "):
            subject_and_visit(study_of(tmp_path, **values), protocol)
    for texts in (["wk00", "a", "b", "c"], ["a", "b"]):
        with pytest.raises(ComplianceError, match=f"found {len(texts)} texts"):
            subject_and_visit(study_of(tmp_path, subjects=["1"], descriptions=texts), protocol)


def break_off(port, files):
    """Send some objects, then lose the connection without a word."""
    with association(port) as assoc:
        for file in files:
            assert assoc.send_c_store(dcmread(file)).Status == 0
        assoc.dul.socket.close()
        assoc.kill()


@pytest.mark.parametrize("how", ["abort", "connection lost"])
def test_a_study_that_broke_off_is_quarantined_after_its_time(trial, tmp_path, how):
    files = visit_files(tmp_path / "visit")
    with running(trial, broken_s=6.0) as (port, lines):
        if how == "abort":
            with association(port) as assoc:
                for file in files[:-3]:
                    assert assoc.send_c_store(dcmread(file)).Status == 0
                assoc.abort()
        else:
            break_off(port, files[:-3])
        assert send(port, files[-3:])  # the rest, which does not tell whether an object was lost in between
        time.sleep(2.5)  # longer than the quiet time
        assert len(lines) == 1
        wait_for(lambda: len(lines) > 1)
    (entry,) = list_quarantine(trial.root)
    assert entry.refused_as == "UnreadableUploadError"
    assert "the transfer of the study broke off and was not repeated" in entry.reason
    assert not agree(trial)


def test_a_study_sent_again_after_it_broke_off_is_whole(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    with running(trial, broken_s=60.0) as (port, lines):
        break_off(port, files[:7])
        assert send(port, files)
        wait_for(lambda: len(lines) > 1)
    assert "accepted" in lines[1]
    assert len(agree(trial)) == 1


def of_series(files, *numbers):
    return [file for file in files if dcmread(file, stop_before_pixels=True).SeriesNumber in numbers]


@pytest.mark.parametrize("first", [(1, 3), (2, 4)], ids=["without both T1", "without FLAIR"])
def test_a_study_that_comes_in_two_halves_is_one_visit(trial, tmp_path, first):
    files = visit_files(tmp_path / "visit")
    half = of_series(files, *first)
    with running(trial, quiet_s=0.5, broken_s=60.0) as (port, lines):
        assert send(port, half)
        time.sleep(4)  # longer than the quiet time and the check of the study
        assert len(lines) == 1
        assert send(port, [file for file in files if file not in half])
        wait_for(lambda: len(lines) > 1)
    assert "study of 48 objects" in lines[1]
    assert "accepted" in lines[1]
    (held,) = agree(trial)
    assert set(held.identity.images) == {"FLAIR", "T1w", "ce-gadolinium_T1w", "T2w"}
    assert not list_quarantine(trial.root)


def test_the_node_says_for_what_a_study_waits(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    half, said = of_series(files, 1, 3), []
    with running(trial, quiet_s=0.5, broken_s=3600.0, waiting=said.append) as (port, lines):
        break_off(port, half[:5])
        wait_for(lambda: len(said) == 1)
        assert send(port, half)
        wait_for(lambda: len(said) == 3)
        assert send(port, [file for file in files if file not in half])
        wait_for(lambda: len(lines) > 1)
    assert said == [
        "site S01: 5 objects of a study received; a transfer broke off; waiting up to 3600 s for its repetition",
        "site S01: 24 objects of a study received; waiting for 0.5 s without further ones",
        "site S01: study of 24 objects: incomplete; waiting up to 3600 s for the rest",
        "site S01: 24 objects of a study received; waiting for 0.5 s without further ones",
    ]
    assert "accepted" in lines[1]


@pytest.mark.parametrize("cut", ["slices", "gap"])
def test_a_series_that_comes_in_two_halves_is_one_volume(trial, tmp_path, cut):
    files = visit_files(tmp_path / "visit")
    (*_, last) = sorted({dcmread(file, stop_before_pixels=True).SeriesNumber for file in files})
    series = of_series(files, last)
    late = series[6:] if cut == "slices" else series[5:6]
    with running(trial, quiet_s=0.5, broken_s=60.0) as (port, lines):
        assert send(port, [file for file in files if file not in late])
        time.sleep(4)
        assert len(lines) == 1
        assert send(port, late)
        wait_for(lambda: len(lines) > 1)
    assert "study of 48 objects" in lines[1]
    assert len(agree(trial)) == 1


def test_half_a_visit_is_quarantined_after_its_time_and_never_a_visit(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    half = of_series(files, 1, 3)
    with running(trial, quiet_s=0.5, broken_s=5.0) as (port, lines):
        assert send(port, half)
        wait_for(lambda: len(lines) > 1)
        (entry,) = list_quarantine(trial.root)
        assert not agree(trial)
        assert (entry.refused_as, entry.visit) == ("ComplianceError", "wk00")
        assert "expected T1w, found FLAIR, T2w" in entry.reason
        assert "expected ce-gadolinium_T1w, found FLAIR, T2w" in entry.reason
        assert "ask the site to send the whole study again" in entry.next_step
        assert send(port, files)
        wait_for(lambda: len(lines) > 2)
    assert "accepted" in lines[2]
    assert len(agree(trial)) == 1


def test_the_centre_may_accept_a_visit_without_a_sequence_that_was_not_acquired(trial, tmp_path):
    with running(trial, quiet_s=0.5, broken_s=2.0) as (port, lines):
        assert send(port, of_series(visit_files(tmp_path / "visit"), 1, 2, 3))
        wait_for(lambda: len(lines) > 1)
    (entry,) = list_quarantine(trial.root)
    taken = retry_upload(trial.root, entry.name, subject="0001")
    assert any("expected ce-gadolinium_T1w" in query for query in taken.queries)
    assert len(agree(trial)) == 1


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("field_t", "reason"), [(3.0, "expected T1w, found FLAIR; "), (1.0, "expected a field strength of at least")]
)
def test_of_half_a_visit_the_protocol_and_then_missing_sequences_are_the_reason(
    trial, tmp_path, monkeypatch, field_t, reason, dry_run
):
    def fails(*_args, **_kwargs):
        raise IdentityError("FLAIR: an alarm", hint="clear it", elements=["1/SoftwareVersions"])

    monkeypatch.setattr(conversion, "deidentify", fails)
    sent = upload(tmp_path / "up", specs=(replace(SMALL[0], field_t=field_t),))
    with pytest.raises(ComplianceError, match=f"^{reason}"):
        ingest(trial, sent, complete=True, dry_run=dry_run)
    assert len(list_quarantine(trial.root)) == (0 if dry_run else 1)


def test_a_study_that_changes_while_it_is_checked_stays(tmp_path):
    (tmp_path / "work").mkdir()
    files = visit_files(tmp_path / "visit")
    incoming = Incoming(tmp_path / "work", max_bytes=10**9)
    calls = []

    def is_complete(study):
        """The second object comes during the first check."""
        calls.append(study.objects)
        if len(calls) == 1:
            incoming.store("B", "S01", files[1].read_bytes())
            incoming.end("B", released=True)
        return len(calls) < 3

    incoming.store("A", "S01", files[0].read_bytes())
    incoming.end("A", released=True)
    assert not incoming.due(quiet_s=0, broken_s=60, is_complete=is_complete)
    (study,) = incoming.due(quiet_s=0, broken_s=60, is_complete=is_complete)
    assert (study.objects, calls) == (2, [1, 2])
    incoming.store("C", "S01", files[2].read_bytes())
    incoming.end("C", released=True)
    for _ in range(3):  # not complete: checked once, and held
        assert not incoming.due(quiet_s=0, broken_s=60, is_complete=is_complete)
    assert calls == [1, 2, 1]
    assert len(incoming.due(quiet_s=0, broken_s=0, is_complete=is_complete)) == 1


def test_an_open_association_holds_its_study_back(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    with running(trial, quiet_s=0.3) as (port, lines), association(port) as assoc:
        for file in files:
            assert assoc.send_c_store(dcmread(file)).Status == 0
        time.sleep(1.5)
        assert len(lines) == 1
        assert not list_quarantine(trial.root)
        assoc.release()
        wait_for(lambda: len(lines) > 1)
    assert "accepted" in lines[1]


def test_a_stop_during_a_transfer_loses_nothing_that_was_acknowledged(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    entity = AE(ae_title="PACS01")
    entity.add_requested_context(MRImageStorage)
    with running(trial) as (port, lines):
        assoc = entity.associate("127.0.0.1", port)
        for file in files[:9]:
            assert assoc.send_c_store(dcmread(file)).Status == 0
    assert "in quarantine: the node stopped before the study was complete" in lines[-1]
    (entry,) = list_quarantine(trial.root)
    assert len(list(entry.upload.iterdir())) == 9
    assert not private_files(trial)


def test_a_full_disk_keeps_the_study_and_tries_again(trial, tmp_path, monkeypatch):
    full = True

    def disk_usage(path, plain=shutil.disk_usage):
        return plain(path)._replace(free=0) if full else plain(path)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(receive, "_AGAIN_S", 0.5)
    with running(trial) as (port, lines):
        assert send(port, visit_files(tmp_path / "visit", visit=""))
        time.sleep(4)
        assert len(lines) == 1
        assert not list_quarantine(trial.root)
        full = False
        wait_for(lambda: len(lines) > 1)
    (entry,) = list_quarantine(trial.root)
    assert len(list(entry.upload.iterdir())) == 48


def test_an_object_that_cannot_be_read_breaks_its_association(tmp_path):
    (tmp_path / "work").mkdir()
    incoming = Incoming(tmp_path / "work", max_bytes=10**9)
    (good, *_) = visit_files(tmp_path / "visit")
    incoming.store("A", "S01", good.read_bytes())
    with pytest.raises(UnreadableUploadError, match="expected a DICOM object with the UIDs"):
        incoming.store("A", "S01", b"\0" * 128 + b"DICM" + os.urandom(300))
    assert not incoming.due(quiet_s=0, broken_s=60)  # the association is open
    incoming.end("A", released=True)
    incoming.end("A", released=False)
    assert not incoming.due(quiet_s=0, broken_s=60)
    (study,) = incoming.due(quiet_s=60, broken_s=0)
    assert study.lost
    assert study.objects == 1
    assert not incoming.due(quiet_s=0, broken_s=0)


def test_a_study_that_is_too_large_is_not_stored_further(tmp_path):
    (tmp_path / "work").mkdir()
    files = visit_files(tmp_path / "visit")
    incoming = Incoming(tmp_path / "work", max_bytes=2 * files[0].stat().st_size + 100)
    incoming.store("A", "S01", files[0].read_bytes())
    with pytest.raises(UnsafeUploadError, match="expected a study of at most 0 MB, found a larger one"):
        [incoming.store("A", "S01", file.read_bytes()) for file in files[1:]]
    incoming.end("A", released=True)
    (study,) = incoming.due(quiet_s=0, broken_s=0)
    assert not study.whole


def test_a_study_that_is_sent_again_counts_once(tmp_path):
    (tmp_path / "work").mkdir()
    files = visit_files(tmp_path / "visit")[:3]
    contents = [file.read_bytes() for file in files]
    incoming = Incoming(tmp_path / "work", max_bytes=sum(map(len, contents)))
    for association in ("A", "B"):
        for content in contents:
            incoming.store(association, "S01", content)
        incoming.end(association, released=association == "B")
    (study,) = incoming.due(quiet_s=0, broken_s=60)
    assert (study.objects, study.size) == (3, sum(map(len, contents)))


def test_settings_and_port_are_checked(tmp_path, trial):
    text = protocol_text()
    both = text.replace('code = "S01"', 'code = "S01"\nae_titles = ["A"]').replace(
        'code = "S02"', 'code = "S02"\nae_titles = ["A"]'
    )
    with pytest.raises(SettingsError, match="AE titles of sites must differ"):
        parse_protocol(both)
    for bad in ("", " A", "A" * 17, "A\\\\B"):
        with pytest.raises(SettingsError, match=r"ae_titles"):
            parse_protocol(text.replace('code = "S01"', f'code = "S01"\nae_titles = ["{bad}"]'))
    stop = threading.Event()
    without = new_trial(tmp_path / "without")
    with pytest.raises(UsageError, match=r"expected a site with ae_titles in trial\.toml, found none"):
        receive_studies(without.root, Node("127.0.0.1", 0), stop=stop, report=print)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="expected a free port"):
            receive_studies(trial.root, Node("127.0.0.1", taken.getsockname()[1]), stop=stop, report=print)
    assert not private_files(trial)


@contextmanager
def process(trial, *options):
    """The command in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "reading_centre", "receive", str(trial.root), "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        try:
            assert "listening on 127.0.0.1" in node.stdout.readline()
            yield node, port
        finally:
            node.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_and_keeps_what_was_sent(trial, tmp_path, number):
    files = visit_files(tmp_path / "visit")
    with process(trial) as (node, port):
        assert send(port, files[:5])
        node.send_signal(number)
        out, err = node.communicate(timeout=60)
        assert node.returncode == 0
    assert "in quarantine: the node stopped before the study was complete" in out
    assert out.endswith("stopped\n")
    assert not any(name in out + err for name in NAMES)
    (entry,) = list_quarantine(trial.root)
    assert len(list(entry.upload.iterdir())) == 5
    assert not private_files(trial)


def test_nothing_identified_stays_after_a_kill(trial, tmp_path):
    files = visit_files(tmp_path / "visit")
    with process(trial) as (node, port):
        assert send(port, files[:5])
        node.kill()
        node.wait(60)
    assert len([path for path in private_files(trial) if path.suffix == ".dcm"]) == 5
    sweep(trial.work)
    assert not private_files(trial)
    with opened(trial) as registry:
        registry.verify_audit()
        assert registry.differences_from_audit() == []


def test_a_folder_of_the_work_area_that_is_not_private_is_no_upload(trial, capsys):
    (trial.work / "mine").mkdir(parents=True)
    arguments = ["--site", "S01", "--subject", "1", "--visit", "wk00"]
    assert cli.invoke(["ingest", str(trial.root), str(trial.work / "mine"), *arguments]) == 2
    assert "expected an upload outside of the trial folder" in capsys.readouterr().err
