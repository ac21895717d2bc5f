"""The portal of a site: uploads in parts, their check in a process of its own, verdicts, queries; no other site."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Thread
from unittest import mock

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UploadRefusedError, UsageError
from mri_pipeline.intake.quarantined import quarantine_entries
from mri_pipeline.registry.job_records import SHORT, JobKind, JobState
from reading_centre.use_cases import serve
from reading_centre.use_cases.trial.private_folder import WAITING
from reading_centre.use_cases.uploads import job_work, site_portal
from reading_centre.use_cases.uploads import jobs as upload_job
from reading_centre.use_cases.uploads import waiting as waiting_upload
from reading_centre.use_cases.uploads.jobs import Lane, Worker, do_jobs, lanes_with_work
from reading_centre.use_cases.uploads.waiting import WaitingUpload, sweep_uploads
from tests.unit import ingest_trial
from tests.unit.office_trial import staff_accounts, write_office_trial
from tests.unit.reading_trial import copy_of, edit_protocol
from tests.unit.web_trial import NoWorker, browser, opened_room, server

CONTENT = hashlib.sha256(b"the files").hexdigest()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_office_trial(tmp_path_factory.mktemp("site") / "trial")


@pytest.fixture(scope="module")
def visit_zip(tmp_path_factory):
    """An upload of a visit."""
    folder = ingest_trial.upload(tmp_path_factory.mktemp("sent") / "visit")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"Mustermann/{path.name}")
    return stream.getvalue()


@pytest.fixture
def room(original, tmp_path):
    with opened_room(copy_of(original, tmp_path)) as room:
        yield room


@pytest.fixture
def site(room):
    return browser(room, "S01-AB")


def begin(client, size, **more):
    stated = {"kind": "visit", "subject": "0009", "visit": "wk00", "before_infusion": True, "content": CONTENT}
    return client.post("/api/site/uploads", json={**stated, "size": size, **more})


def patch(client, upload, offset, part, *, checksum=None):
    digest = base64.b64encode(hashlib.sha256(part if checksum is None else checksum).digest()).decode()
    headers = {"Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {digest}"}
    return client.patch(f"/api/site/uploads/{upload}", content=part, headers=headers)


def send(client, content, *, parts=3, **more):
    """Begin an upload and send it in parts."""
    answer = begin(client, len(content), **more)
    assert answer.status_code == 201, answer.text
    upload, step = answer.json()["upload"], len(content) // parts + 1
    for offset in range(0, len(content), step):
        assert patch(client, upload, offset, content[offset : offset + step]).status_code == 204
    return upload


def state(client, upload):
    return client.get(f"/api/site/uploads/{upload}").json()


def check(room):
    """Do the jobs. The objects of the tests are no heads."""
    with mock.patch("qc.decision.judge_images", return_value=[]):
        do_jobs(room.trial.root)


def waiting(room):
    return sorted(path.name for path in room.trial.work.glob(f"{WAITING}*"))


# --- an upload, from the first part to the verdict --------------------------------------------------------------


def test_a_visit_is_sent_in_parts_judged_and_shown(room, site, visit_zip):
    upload = send(site, visit_zip)
    assert state(site, upload) == {"state": "waiting", "received": len(visit_zip), "size": len(visit_zip)}
    assert "The check takes some minutes" in site.get(f"/site/uploads/{upload}").text
    folder = WaitingUpload(room.trial, upload).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    check(room)
    assert state(site, upload)["state"] == "done"
    text = site.get(f"/site/uploads/{upload}").text
    assert "accepted" in text
    assert "0009 wk00" in text
    assert "FLAIR" in text
    code = Sealed.open(room.trial).preview("S01", "0009")
    assert room.registry.subject(code).visits[0].scan == "received"
    assert waiting(room) == []
    assert ingest_trial.identified(room.trial) == []
    for action in ("upload begun", "upload sent", "upload checked"):
        (entry,) = room.registry.audit_entries(action)
        assert (entry.reader, entry.target, entry.details["job"]) == ("S01-AB", "S01", upload)
    assert (entry.details["state"], entry.details["upload"]) == ("done", hashlib.sha256(visit_zip).hexdigest())
    (received,) = [e for e in room.registry.audit_entries("scan received") if e.target == f"{code} wk00"]
    assert received.details["upload"] == entry.details["upload"]  # joins the person with the scan


def test_the_site_sees_its_subject_by_the_number_alone(room, site, visit_zip):
    upload = send(site, visit_zip)
    check(room)
    code = Sealed.open(room.trial).preview("S01", "0009")
    for path in ("/site", "/site/upload", f"/site/uploads/{upload}", "/site/queries", "/site/queries/2"):
        assert code not in site.get(path).text, path
    assert re.search(r'<th scope="row">0009</th>\s*<td><span class="cell received">', site.get("/site").text)
    assert code not in json.dumps(state(site, upload))


def test_a_refused_visit_says_why_in_plain_words_and_is_in_quarantine(room, site, visit_zip):
    upload = send(site, visit_zip[:-2000], parts=1)
    check(room)
    assert state(site, upload)["state"] == "refused"
    text = site.get(f"/site/uploads/{upload}").text
    job = room.registry.jobs.find(upload)
    assert job.outcome["reason"].split(";")[0].split(",")[-1].strip() in text.lower()
    assert "mri-pipeline" not in text
    assert "Traceback" not in text
    assert waiting(room) == []
    assert len(list(room.trial.quarantine.glob("*/upload*"))) == 3


def test_a_dummy_run_is_judged_and_its_report_downloaded(room, visit_zip):
    other = browser(room, "S02-CD")
    upload = send(other, visit_zip, kind="dummy run")
    assert room.registry.jobs.find(upload).visit == ""
    do_jobs(room.trial.root)  # with the checks of the images
    assert state(other, upload)["state"] == "refused"
    text = other.get(f"/site/uploads/{upload}").text
    assert "See the acceptance report, correct the scan, and send it again" in text
    assert str(room.trial.root) not in text
    report = other.get(f"/site/uploads/{upload}/report")
    assert report.headers["content-disposition"].startswith("attachment")
    assert "The dummy run is refused" in report.text
    assert "S02-CD" in report.text
    assert browser(room, "S01-AB").get(f"/site/uploads/{upload}/report").status_code == 404


def test_the_archive_of_the_browser_is_one(room, site, tmp_path):
    """A tar as `upload/tar.js` makes it."""
    folder = ingest_trial.upload(tmp_path / "visit")
    script = """
        import { tarOf } from %s;
        import { readFileSync, readdirSync } from "node:fs";
        const folder = process.argv[2];
        const files = readdirSync(folder).sort().map((name) => new Blob([readFileSync(`${folder}/${name}`)]));
        process.stdout.write(Buffer.from(await tarOf(files).arrayBuffer()));
    """
    tar_js = json.dumps(
        str(site_portal.__file__).replace("use_cases/uploads/site_portal.py", "web/static/upload/tar.js")
    )
    (tmp_path / "make.mjs").write_text(script % tar_js)
    made = subprocess.run(["node", tmp_path / "make.mjs", folder], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        names = archive.getnames()
        first = archive.extractfile(names[0]).read()
    assert names[0] == "scans/000000"
    assert first == min(folder.iterdir()).read_bytes()
    upload = send(site, made)
    check(room)
    assert state(site, upload)["state"] == "done", room.registry.jobs.find(upload).outcome


# --- parts ------------------------------------------------------------------------------------------------------


def test_parts_follow_each_other_and_have_their_checksum(room, site):
    upload = begin(site, 10).json()["upload"]
    assert patch(site, upload, 0, b"abcd", checksum=b"abcx").status_code == 460
    assert patch(site, upload, 1, b"abcd").status_code == 409
    assert patch(site, upload, 0, b"abcdefghijk").status_code == 409  # larger than it was said to be
    assert state(site, upload)["received"] == 0
    answer = patch(site, upload, 0, b"abcd")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")
    assert (
        patch(site, upload, 0, b"abcd").status_code == 409
    )  # the answer was lost: the browser asks where to go on
    head = site.head(f"/api/site/uploads/{upload}")
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("4", "10")
    assert patch(site, upload, 4, b"efghij").status_code == 204
    assert WaitingUpload(room.trial, upload).data.read_bytes() == b"abcdefghij"
    assert patch(site, upload, 10, b"").status_code == 409
    for headers in (
        {},
        {"Upload-Offset": "x"},
        {"Upload-Offset": "4"},
        {"Upload-Offset": "4", "Upload-Checksum": "md5 x"},
    ):
        assert site.patch(f"/api/site/uploads/{upload}", content=b"", headers=headers).status_code == 422


def test_what_a_killed_server_has_not_confirmed_is_received_again(room, site):
    upload = begin(site, 10).json()["upload"]
    patch(site, upload, 0, b"abcd")
    data = WaitingUpload(room.trial, upload).data
    data.write_bytes(b"abcdEF")  # a part of the next part
    assert state(site, upload)["received"] == 4
    with opened_room(room.trial) as restarted:
        again = browser(restarted, "S01-AB")
        assert state(again, upload)["received"] == 4
        assert patch(again, upload, 4, b"efghij").status_code == 204
    assert data.read_bytes() == b"abcdefghij"


def test_one_request_writes_to_an_upload(room, site):
    upload = begin(site, 10).json()["upload"]
    with WaitingUpload(room.trial, upload).held():
        assert patch(site, upload, 0, b"abcd").status_code == 423
    assert patch(site, upload, 0, b"abcd").status_code == 204


# --- what cannot begin ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"subject": "0099"}, "this number is not in the list of the site's "),
        ({"subject": "../x"}, "expected a site and a subject number"),
        ({"subject": ""}, "expected a site and a subject number"),
        ({"visit": "wk99"}, "expected a visit of the protocol"),
        ({"before_infusion": None}, "expected a statement whether the scan came before the infusion"),
        ({"subject": "0001"}, "expected a reason for replacing the earlier scan of the visit"),
        ({"subject": "0001", "replace_because": "artefact"}, "the reads of this visit are locked"),
        ({"subject": "0009", "replace_because": "a\0b"}, "the request has a fault at body replace_because"),
        ({"size": 0}, "expected an upload of up to 4096 MB, found none"),
        ({"size": 5_000_000_000}, "expected an upload of up to 4096 MB, found 5000 MB"),
        ({"size": 4_096_400_000}, "expected an upload of up to 4096 MB, found 4097 MB"),
    ],
)
def test_an_upload_that_the_gate_would_refuse_does_not_begin(room, site, more, message):
    answer = begin(site, more.pop("size", 10), **more)
    assert answer.status_code == 422
    assert message.lower() in answer.json()["detail"].lower()
    assert waiting(room) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "retry"},
        {"size": "10"},
        {"size": -1},
        {"content": "x"},
        {"site": "S02"},
        {"subject": "0" * 99},
        {"replace_because": "a\0b"},
    ],
)
def test_an_upload_of_another_form_is_refused(site, body):
    stated = {"kind": "visit", "size": 10, "content": CONTENT, "subject": "0009", "visit": "wk04"} if body else {}
    answer = site.post("/api/site/uploads", json=stated | body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.requirement("INTAKE-02")
def test_a_site_without_an_accepted_dummy_run_sends_no_visit(room):
    room.registry.record_dummy_run("S02", accepted=False, upload_digest="d3")
    other = browser(room, "S02-CD")
    answer = begin(other, 10, subject="0101")
    assert answer.status_code == 422
    assert "send a dummy run first" in answer.json()["detail"].lower()
    assert begin(other, 10, kind="dummy run").status_code == 201


def test_a_site_has_a_quota(room, site, monkeypatch):
    assert [begin(site, 10).status_code for _ in range(6)] == [201] * 5 + [422]
    upload = waiting(room)[0].removeprefix(WAITING)
    assert site.post(f"/site/uploads/{upload}/discard").status_code == 303
    assert state(site, upload)["state"] == "discarded"
    (entry,) = room.registry.audit_entries("upload discarded")
    assert (entry.reader, entry.target, entry.details["job"]) == ("S01-AB", "S01", upload)
    assert begin(site, 10).status_code == 201
    assert begin(browser(room, "S02-CD"), 10, subject="0101", visit="wk04").status_code == 201  # of its own
    monkeypatch.setattr(site_portal, "MOST_AT_ONCE", 100)
    assert [begin(site, 4_000_000_000).status_code for _ in range(3)] == [201, 201, 422]


def test_uploads_that_begin_at_once_keep_the_quota(room):
    """The quota is checked in the transaction that enters the upload."""
    portal = site_portal.SitePortal(room.trial, room.protocol, room.registry, "S01")
    stated = site_portal.Statement(JobKind.DUMMY_RUN, 10, CONTENT)

    def begun(_number):
        try:
            return portal.begin(stated, account="S01-AB")
        except UsageError:
            return None

    with ThreadPoolExecutor(12) as pool:
        found = [job for job in pool.map(begun, range(12)) if job is not None]
    assert len(found) == site_portal.MOST_AT_ONCE == len(waiting(room))


def test_jobs_of_the_office_do_not_count_as_uploads_of_the_site(room, site):
    for _ in range(site_portal.MOST_AT_ONCE):
        room.registry.jobs.order(JobKind.RETRY, account="DM", site="S01", entry="entry")
    assert begin(site, 10).status_code == 201


def test_an_upload_needs_room_on_the_disk(room, site, monkeypatch):
    usage = mock.Mock(free=5)
    monkeypatch.setattr("reading_centre.use_cases.trial.storage.shutil.disk_usage", lambda _folder: usage)
    answer = begin(site, 10)
    assert (answer.status_code, waiting(room)) == (422, [])
    assert "room on the server" in answer.json()["detail"]


# --- what stays, and for how long -------------------------------------------------------------------------------


def test_an_upload_of_which_nothing_comes_is_removed(room, site, monkeypatch):
    stale, fresh = (begin(site, 10).json()["upload"] for _ in range(2))
    old = time.time() - (waiting_upload.STALE + timedelta(minutes=1)).total_seconds()
    for path in WaitingUpload(room.trial, stale).folder.iterdir():
        os.utime(path, (old, old))
    for number in range(2):  # of no job; one may be entered in a moment
        folder = room.trial.work / f"{WAITING}{str(number) * 24}"
        folder.mkdir()
        (folder / "request.json").touch()
        os.utime(folder / "request.json", (time.time() - (300, 601)[number],) * 2)
    created = room.registry.jobs.begin(JobKind.DUMMY_RUN, site="S01", account="S01-AB", size_bytes=10).code
    WaitingUpload(room.trial, created).folder.mkdir()  # its files are written in a moment
    sweep_uploads(room.trial, room.registry)
    assert waiting(room) == sorted(f"{WAITING}{code}" for code in (fresh, created, "0" * 24))
    assert state(site, stale)["state"] == "discarded"
    (entry,) = room.registry.audit_entries("upload discarded")
    assert (entry.reader, entry.details["job"]) == ("", stale)
    assert "Send it again." in site.get(f"/site/uploads/{stale}").text


def test_the_next_command_removes_what_an_ended_upload_has_left(room, site, visit_zip, tmp_path):
    upload = send(site, visit_zip)
    with mock.patch.object(WaitingUpload, "remove"):  # the process was killed after the verdict
        check(room)
    assert waiting(room) == [f"{WAITING}{upload}"]
    (tmp_path / "no.dcm").write_text("no DICOM")
    with pytest.raises(UploadRefusedError):
        ingest_trial.ingest(room.trial, tmp_path / "no.dcm", subject="0003", visit="wk12")
    assert waiting(room) == []


def test_a_running_server_sweeps_by_a_timer_and_starts_what_waits(room, site, monkeypatch):
    monkeypatch.setattr(serve, "SWEEP_EVERY_S", 0.02)
    worker = mock.Mock()
    with serve._sweeping(room.trial, room.registry, worker):
        upload = begin(site, 10).json()["upload"]
        old = time.time() - (waiting_upload.STALE + timedelta(minutes=1)).total_seconds()
        for path in WaitingUpload(room.trial, upload).folder.iterdir():
            os.utime(path, (old, old))
        soon(lambda: state(site, upload)["state"] == "discarded")
        worker.start.assert_not_called()
        send(site, b"abcdefghij")
        soon(lambda: worker.start.called)
        with mock.patch.object(serve, "sweep_uploads", side_effect=OSError):
            time.sleep(0.1)
        worker.start.reset_mock()
        soon(lambda: worker.start.called)  # a fault does not end the timer


def soon(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_work_may_be_deleted(room, site):
    upload = begin(site, 10).json()["upload"]
    WaitingUpload(room.trial, upload).remove()
    assert state(site, upload)["received"] == 0
    assert patch(site, upload, 0, b"abcd").status_code == 409
    assert site.get(f"/site/uploads/{upload}").status_code == 200
    assert site.post(f"/site/uploads/{upload}/discard").status_code == 303
    assert state(site, upload)["state"] == "discarded"


# --- jobs -------------------------------------------------------------------------------------------------------


def test_an_interrupted_check_is_done_again_and_fails_after_the_second_time(room, site, visit_zip):
    upload = send(site, visit_zip)
    for _ in range(2):
        with (
            mock.patch("reading_centre.use_cases.uploads.jobs._do", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            do_jobs(room.trial.root)
        assert state(site, upload)["state"] == "running"
    check(room)
    assert state(site, upload)["state"] == "failed"
    assert "interrupted several times" in site.get(f"/site/uploads/{upload}").text
    sweep_uploads(room.trial, room.registry)
    assert waiting(room) == []
    (entry,) = [entry for entry in quarantine_entries(room.trial.quarantine) if "several times" in entry.reason]
    assert entry.upload.read_bytes() == visit_zip  # nothing that was sent is lost


def test_a_check_waits_for_the_upload_and_does_not_count_as_interrupted(room, site, visit_zip, monkeypatch):
    upload = send(site, visit_zip)
    monkeypatch.setattr(upload_job, "_WAIT_FOR_UPLOAD_S", 0.05)
    job = room.registry.jobs.take(SHORT)
    with WaitingUpload(room.trial, upload).held():
        upload_job._do(room.trial, room.registry, job)
    job = room.registry.jobs.find(upload)
    assert (job.state, job.attempts) == (JobState.WAITING, 0)
    assert waiting(room) == [f"{WAITING}{upload}"]
    monkeypatch.setattr(upload_job, "_WAIT_FOR_UPLOAD_S", 60)
    job = room.registry.jobs.take(SHORT)
    check = Thread(target=upload_job._do, args=(room.trial, room.registry, job))
    with mock.patch.object(job_work, "receive_visit", side_effect=UploadRefusedError("expected a scan")):
        with WaitingUpload(room.trial, upload).held():
            check.start()
            time.sleep(0.2)
            assert state(site, upload)["state"] == "running"
        check.join()
    assert room.registry.jobs.find(upload).state.ended


def test_an_upload_that_was_not_checked_is_kept_until_there_is_room(room, site, visit_zip):
    upload = send(site, visit_zip)
    full = UsageError("expected room on the disk, found none", hint="free some")
    with (
        mock.patch.object(job_work, "receive_visit", side_effect=full),
        mock.patch("reading_centre.use_cases.uploads.task.require_room", side_effect=full),
    ):
        do_jobs(room.trial.root)
    assert state(site, upload)["state"] == "failed"
    sweep_uploads(room.trial, room.registry)
    assert WaitingUpload(room.trial, upload).data.read_bytes() == visit_zip
    (entry,) = room.registry.audit_entries("upload not checked")
    assert (entry.target, entry.reader, entry.details["job"]) == ("S01", "S01-AB", upload)
    assert entry.details["upload"] == hashlib.sha256(visit_zip).hexdigest()
    assert lanes_with_work(room.trial, room.registry) == [Lane.SHORT]
    do_jobs(room.trial.root)  # there is room again, and no other job waits
    assert lanes_with_work(room.trial, room.registry) == []
    assert waiting(room) == []
    assert any(
        entry.upload and entry.upload.read_bytes() == visit_zip
        for entry in quarantine_entries(room.trial.quarantine)
    )


def test_an_unexpected_fault_keeps_the_upload_in_quarantine_and_tells_no_path(room, site, visit_zip):
    upload = send(site, visit_zip)
    fault = RuntimeError("/hospital/Mustermann")
    with mock.patch("reading_centre.use_cases.uploads.job_work.receive_visit", side_effect=fault):
        do_jobs(room.trial.root)
    job = room.registry.jobs.find(upload)
    assert job.state is JobState.REFUSED
    assert "Mustermann" not in json.dumps(job.outcome)
    assert "unexpected RuntimeError" in job.outcome["reason"]
    assert len(list(room.trial.quarantine.glob("*/upload*"))) == 3
    assert waiting(room) == []


def test_an_upload_is_checked_by_a_process_that_outlives_the_server(room, site, visit_zip):
    upload = send(site, visit_zip)
    worker = Worker(room.trial)
    worker.start()
    process = worker._processes[Lane.SHORT]
    worker.start()
    assert worker._processes == {Lane.SHORT: process}  # one at a time
    assert os.getsid(process.pid) != os.getsid(0)
    assert process.wait(120) == 0
    assert room.registry.jobs.find(upload).state is JobState.REFUSED  # the objects are no heads
    assert waiting(room) == []


def test_a_new_server_goes_on_with_what_waits(room, site, visit_zip):
    upload = send(site, visit_zip)
    with server(room.trial):
        end = time.monotonic() + 120
        while not room.registry.jobs.find(upload).state.ended:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_another_process_does_the_jobs_once(room, site, visit_zip):
    upload = send(site, visit_zip)
    command = [sys.executable, "-m", "reading_centre.use_cases.uploads.jobs", str(room.trial.root), "short"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert room.registry.jobs.find(upload).attempts == 1


# --- the office: another try and a release ----------------------------------------------------------------------


def test_a_data_manager_tries_a_refused_upload_again(room, site, visit_zip):
    room.registry.record_dummy_run("S01", accepted=False, upload_digest="d9")
    room.registry.record_dummy_run("S01", accepted=True, upload_digest="d9")
    with mock.patch("reading_centre.use_cases.uploads.job_work.receive_visit", side_effect=RuntimeError):
        send(site, visit_zip)
        do_jobs(room.trial.root)
    manager = browser(room, "DM")
    name = max(path.name for path in room.trial.quarantine.iterdir() if path.is_dir())
    url = f"/office/quarantine/{name}"
    assert "Try again" in manager.get(url).text
    for form, message in (({}, "Expected the trial number"), ({"subject": "  "}, "Expected the trial number")):
        refused = manager.post(f"{url}/retry", data=form)
        assert (refused.status_code, message in refused.text) == (422, True)
    form = {"subject": "0009", "visit": "wk00", "before_infusion": "yes"}
    answer = manager.post(f"{url}/retry", data=form)
    assert answer.status_code == 303
    page = answer.headers["location"]
    assert "waits for its check" in manager.get(page).text
    check(room)
    text = manager.get(page).text
    assert "accepted" in text
    assert "FLAIR" in text
    assert "0009" not in text
    assert room.registry.subject(Sealed.open(room.trial).preview("S01", "0009")).visits[0].scan == "received"
    assert "0009" not in json.dumps([dict(e.details) for e in room.registry.audit_entries("job ordered")])
    assert waiting(room) == []
    assert manager.post(f"{url}/retry", data=form).status_code == 422  # it is settled


@pytest.mark.parametrize("sent", [lambda whole: whole, lambda whole: whole[:-2000]])
def test_a_retry_that_was_killed_before_its_end_is_not_reported_as_failed(room, site, visit_zip, sent):
    with mock.patch("reading_centre.use_cases.uploads.job_work.receive_visit", side_effect=RuntimeError):
        send(site, sent(visit_zip))
        do_jobs(room.trial.root)
    manager = browser(room, "DM")
    name = max(path.name for path in room.trial.quarantine.iterdir() if path.is_dir())
    form = {"subject": "0009", "visit": "wk00", "before_infusion": "yes"}
    page = manager.post(f"/office/quarantine/{name}/retry", data=form).headers["location"]
    with (
        mock.patch("mri_pipeline.registry.jobs.Jobs.end", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        check(room)
    check(room)
    (job,) = [job for job in room.registry.jobs.latest() if job.kind is JobKind.RETRY]
    whole = sent(visit_zip) == visit_zip
    assert (job.state, job.attempts) == (JobState.DONE if whole else JobState.REFUSED, 2)
    assert ("was interrupted after the upload was accepted" in manager.get(page).text) is whole
    assert job.subject == Sealed.open(room.trial).preview("S01", "0009")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("subject", "0" * 33, "up to 32 characters as subject"),
        ("visit", "wk99", "Expected a visit of the protocol"),
        ("reason", "x" * 501, "up to 500 characters as reason"),
        ("clear_identity", "x" * 501, "up to 500 characters as clear identity"),
        ("reason", "x" * 2001, "up to 2000 characters in a field"),
    ],
)
def test_fields_of_the_office_are_bounded(room, field, text, message):
    manager = browser(room, "DM")
    (name,) = [e.name for e in quarantine_entries(room.trial.quarantine) if e.kind == "visit"]
    file = room.trial.quarantine / name / "reason.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"visit": ""}))
    form = {"subject": "0009", "visit": "wk00", "reason": "it is right", field: text}
    answer = manager.post(f"/office/quarantine/{name}/release", data=form)
    assert answer.status_code == 422
    assert message in answer.text
    assert room.registry.jobs.latest() == []


def test_a_release_needs_a_reason_and_names_the_person(room, site):
    manager = browser(room, "DM")
    (name,) = [e.name for e in quarantine_entries(room.trial.quarantine) if e.kind == "visit"]
    url, form = f"/office/quarantine/{name}", {"subject": "0009", "visit": "wk00"}
    assert manager.post(f"{url}/release", data=form).status_code == 422
    answer = manager.post(f"{url}/release", data=form | {"reason": "it is right"})
    assert answer.status_code == 303
    check(room)
    text = manager.get(answer.headers["location"]).text  # an unreadable upload is not released
    assert "failed" in text
    assert (
        "Expected a visit refused for a limit of the protocol" in text.replace(name, "").replace(": e", " E")
        or "found a visit refused as" in text
    )
    (ordered,) = room.registry.audit_entries("job ordered")
    assert (ordered.reader, ordered.details["kind"], ordered.details["entry"]) == ("DM", "release", name)


def test_a_data_manager_discards_a_refused_upload(room, site):
    manager = browser(room, "DM")
    (name,) = [e.name for e in quarantine_entries(room.trial.quarantine) if e.kind == "visit"]
    url = f"/office/quarantine/{name}"
    assert site.post(f"{url}/discard", data={"reason": "sent twice"}).status_code in (403, 404)
    for reason, message in ((" ", "Expected a text as reason, found none."), ("x" * 501, "up to 500 characters")):
        answer = manager.post(f"{url}/discard", data={"reason": reason})
        assert (answer.status_code, message in answer.text) == (422, True)
    assert manager.post("/office/quarantine/none/discard", data={"reason": "sent twice"}).status_code == 404
    assert room.registry.audit_entries("refused upload discarded") == []
    assert manager.post(f"{url}/discard", data={"reason": "sent twice"}).headers["location"] == url
    page = manager.get(url).text
    assert "<dt>Outcome</dt><dd>discarded</dd>" in page
    assert "/discard" not in page
    (entry,) = room.registry.audit_entries("refused upload discarded")
    assert (entry.reader, entry.details["reason"], entry.details["entry"]) == ("DM", "sent twice", name)
    assert [*(room.trial.quarantine / name).glob("*upload*")] == []
    answer = manager.post(f"{url}/discard", data={"reason": "sent twice"})
    assert (answer.status_code, "settled already (discarded)" in answer.text) == (422, True)


def test_the_agreement_report_is_ordered_by_the_data_manager(room):
    manager = browser(room, "DM")
    page = manager.post("/office/agreement").headers["location"]
    check(room)
    job = room.registry.jobs.latest()[0]
    assert (job.kind, job.state) == (JobKind.AGREEMENT, JobState.FAILED)  # the reads of this trial have no files
    assert "found none" in manager.get(page).text
    assert job.code in manager.get("/office/jobs").text


# --- own and other ----------------------------------------------------------------------------------------------


def test_a_site_answers_its_queries_and_sees_no_other(room, site):
    queries = room.registry.site_queries.all()
    (other,) = [query.number for query in queries if query.site == "S02"]
    own = next(query.number for query in queries if query.site == "S01" and query.subject)
    listed = site.get("/site/queries").text
    assert f'href="/site/queries/{own}"' in listed
    assert f'href="/site/queries/{other}"' not in listed
    assert site.post(f"/site/queries/{own}/answer", data={"text": "the same coil"}).status_code == 303
    assert room.registry.site_queries.get(own).answered_by == "S01-AB"
    assert site.post(f"/site/queries/{own}/answer", data={"text": " "}).status_code == 422
    for path in (f"/site/queries/{other}", "/site/queries/999"):
        assert site.get(path).status_code == 404
        assert site.post(f"{path}/answer", data={"text": "x"}).status_code == 404
    assert site.get(f"/site/queries/{other}").content == site.get("/site/queries/999").content
    assert room.registry.site_queries.get(other).state == "open"


def test_a_site_that_is_added_while_the_trial_is_served_has_its_pages(room):
    text = staff_accounts().replace("S02-CD", "S09-XY").replace('"S02"', '"S09"').split("[[accounts]]")
    (account,) = [part for part in text if "S09-XY" in part]
    file = room.trial.protocol_file
    file.write_text(f'{file.read_text()}\n[[sites]]\ncode = "S09"\nsubjects = ["0901"]\n\n[[accounts]]{account}')
    new = browser(room, "S09-XY", password="the second site's word")
    for path in ("/site", "/site/upload", "/site/queries"):
        assert new.get(path).status_code == 200, path
    assert "0901" in new.get("/site").text
    assert begin(new, 10, subject="0901").status_code == 422  # no dummy run yet
    assert begin(new, 10, kind="dummy run").status_code == 201
    manager = browser(room, "DM")
    for path in ("/office", "/office/jobs", "/office/queries", "/office/queries?site=S09"):
        assert manager.get(path).status_code == 200, path


def test_a_subject_that_is_not_listed_has_no_code_beside_the_numbers(room, site):
    """The last code beside the numbers of all others would tell whose it is."""
    number, code = "0003", Sealed.open(room.trial).preview("S01", "0003")
    edit_protocol(room.trial, f'"{number}", ', "")
    for path in ("/site", "/site/queries", *(f"/site/queries/{n}" for n in range(1, 5))):
        assert not re.search(f"{code}|{number}", site.get(path).text), path
    assert '<th scope="row">not listed</th>' in site.get("/site").text
    assert "is missing in the list of the site" in site.get("/site").text


def test_a_site_sees_and_touches_no_upload_of_another(room, site):
    upload = begin(site, 10).json()["upload"]
    other = browser(room, "S02-CD")
    for path, unknown in (
        (f"/api/site/uploads/{upload}", f"/api/site/uploads/{'0' * 24}"),
        (f"/site/uploads/{upload}", f"/site/uploads/{'0' * 24}"),
    ):
        assert other.get(path).status_code == 404
        assert other.get(path).content == other.get(unknown).content
    assert patch(other, upload, 0, b"abcd").status_code == 404
    assert other.post(f"/site/uploads/{upload}/discard").status_code == 404
    assert state(site, upload)["received"] == 0
    text = other.get("/site").text
    assert upload not in text
    assert not re.search(r"\b000[1-9]\b", text)


def test_what_is_due_is_shown_by_the_number_and_with_days(room, site):
    text = site.get("/site").text
    row = text.split('<th scope="row">0001</th>')[1].split("</tr>")[0]
    assert row.count('class="cell received"') == 3
    assert (
        "22\N{NO-BREAK SPACE}Jun to 6\N{NO-BREAK SPACE}Jul 2026" in row
    )  # week 24 after 12 January 2026, 7 days on either side
    never = text.split('<th scope="row">0009</th>')[1].split("</tr>")[0]
    assert "not sent" in never
    assert "2026" not in never


def test_pages_of_a_site_have_no_inline_code_or_style(room, site):
    upload = begin(site, 10).json()["upload"]
    for path in ("/site", "/site/upload", f"/site/uploads/{upload}", "/site/queries"):
        text = site.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", text), path


def test_the_latest_uploads_are_first(room, site):
    first, second = (begin(site, 10).json()["upload"] for _ in range(2))
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    with room.registry._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET created_at = ? WHERE code = ?", (at, first))
    text = site.get("/site").text
    assert text.index(second) < text.index(first)


@pytest.mark.parametrize(
    ("gate", "badge"),
    [("accepted", 'good">accepted'), ("refused", 'bad">refused'), ("undecided", 'waits">judged')],
)
def test_the_badge_of_a_dummy_run_is_the_state_of_its_gate(room, site, gate, badge):
    job = room.registry.jobs.begin(JobKind.DUMMY_RUN, site="S01", account="S01-AB", size_bytes=10)
    room.registry.jobs.end(job.code, JobState.DONE, {"verdict": "accepted", "gate": gate})
    for path in ("/site", f"/site/uploads/{job.code}"):
        assert f'class="state {badge}<' in site.get(path).text


def test_the_page_that_waits_for_a_verdict_starts_a_stopped_check_again(room, site):
    upload = send(site, b"abcdefghij")
    with mock.patch.object(NoWorker, "start") as start:
        site.get(f"/site/uploads/{upload}")
        assert start.call_count == 1
        check(room)
        site.get(f"/site/uploads/{upload}")
        assert start.call_count == 1


def test_an_upload_that_became_whole_meanwhile_is_not_discarded(room, site):
    upload = begin(site, 10).json()["upload"]
    seen = room.registry.jobs.find(upload)
    assert patch(site, upload, 0, b"abcdefghij").status_code == 204
    site_portal.SitePortal(room.trial, room.protocol, room.registry, "S01").discard(seen, account="S01-AB")
    assert state(site, upload)["state"] == "waiting"
    assert WaitingUpload(room.trial, upload).data.read_bytes() == b"abcdefghij"


def test_an_upload_of_an_unlisted_subject_shows_neither_number_nor_code(room, site):
    upload = send(site, b"abcdefghij")
    pages = ("/site", f"/site/uploads/{upload}")
    with mock.patch.object(site_portal.SitePortal, "names", return_value={}):
        assert all("0009" not in site.get(path).text for path in pages)
        code = Sealed.open(room.trial).preview("S01", "0009")
        room.registry.jobs.end(upload, JobState.DONE, {"contrasts": []}, subject=code)
        WaitingUpload(room.trial, upload).remove()
        assert all(code not in site.get(path).text for path in pages)
