"""A batch of uploads from a manifest: isolated from each other, resumable, and a dry run that stores nothing."""

import csv
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from mri_pipeline.core.errors import ComplianceError, UsageError
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from qc.findings import Finding
from reading_centre import cli
from reading_centre.use_cases.uploads.ingest import batch as ingest_batch
from reading_centre.use_cases.uploads.ingest.job import UploadOutcome
from reading_centre.use_cases.uploads.manifest import COLUMNS, read_manifest
from reading_centre.use_cases.uploads.quarantine import list_quarantine
from tests.unit.ingest_trial import agree, ingest, new_trial, opened, upload

pytestmark = pytest.mark.usefixtures("no_image_checks")
PROTOCOL = parse_protocol(protocol_text())
HEADER = ",".join(COLUMNS)
KNOWN = f"expected one of {', '.join(COLUMNS)}"

# stands for the process of an upload: the objects of the tests are no heads, and one upload may kill its process
JOB = """
import json, os, signal, sys
sys.path.insert(0, {root!r})
from qc import conversion, decision
from reading_centre.use_cases.uploads.ingest import job as ingest_job
decision.judge_images = lambda measures, protocol: print('a library prints') or []
if {killed!r} and {killed!r} in sys.stdin.buffer.peek().decode():
    conversion.convert_series = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
ingest_job.main()
"""


@pytest.fixture
def trial(tmp_path):
    return new_trial(tmp_path / "trial")


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A function that lets one upload kill its process."""

    def use(killed: str = "") -> None:
        script = tmp_path / "job.py"
        script.write_text(JOB.format(root=str(Path(__file__).parents[2]), killed=killed))
        monkeypatch.setattr(ingest_batch, "_JOB", (sys.executable, str(script)))

    use()
    return use


def manifest(tmp_path, *lines, header=HEADER):
    path = tmp_path / "uploads.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def four(tmp_path, trial):
    """One upload that was accepted before, one that is refused, one broken zip, one that is fine."""
    repeated = upload(tmp_path / "Mustermann0")
    ingest(trial, repeated)
    weak = upload(tmp_path / "Mustermann1", seed=1, specs=())
    weak.mkdir()
    (weak / "note.txt").write_text("no DICOM")
    broken = tmp_path / "Mustermann2.zip"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("note.txt", 100 * b"note")
    broken.write_bytes(broken.read_bytes().replace(b"note", b"evil"))
    upload(tmp_path / "Mustermann3", day=28)
    return manifest(
        tmp_path,
        "S01,0001,wk00,Mustermann0,yes",
        "S01,0002,wk00,Mustermann1,",
        "S01,0003,wk00,Mustermann2.zip,",
        "S01,0001,wk04,Mustermann3,yes",
    )


def run(trial, path, *more):
    return cli.invoke(["ingest", str(trial.root), "--manifest", str(path), *more])


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def content(trial):
    """All files and folders. A lock names its last holder."""
    return {
        path.relative_to(trial.root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in trial.root.rglob("*")
        if path.suffix != ".lock"
    }


def nothing_is_left(trial):
    assert not list(trial.work.glob("intake-*"))
    assert not [path for path in trial.staging.glob("*") if path.suffix != ".lock"]


def test_a_batch_has_lines_an_exit_code_and_a_table_and_is_resumed(tmp_path, trial, jobs, capsys):
    path = four(tmp_path, trial)
    results = tmp_path / "results.csv"
    assert run(trial, path, "--results", str(results), "--nprocs", "2") == 3
    shown = capsys.readouterr().out
    lines = sorted(shown.splitlines())
    assert lines[0] == "4 uploads: 1 accepted, 1 stored already, 2 refused"
    assert lines[1].startswith("line 2: S01 wk00 stored already: ")
    assert lines[2].startswith("line 3: S01 wk00 refused: expected DICOM images, found none")
    assert lines[3].startswith("line 4: S01 wk00 refused: expected a complete archive")
    assert lines[4].startswith("line 5: S01 wk04 accepted: ")
    rows = table(results)
    assert tuple(rows[0]) == ingest_batch.RESULT_COLUMNS
    assert [(row["line"], row["outcome"], row["exit_code"]) for row in rows] == [
        ("2", "stored", "0"), ("3", "refused", "3"), ("4", "refused", "3"), ("5", "accepted", "0"),
    ]  # fmt: skip
    assert [row["error"] for row in rows][1:3] == ["UnreadableUploadError", "UnreadableUploadError"]
    assert all(row["next_step"] for row in rows[1:3])
    code = agree(trial)[0].subject
    for word in ("Mustermann", "HOSP-4711", "0001", "0002", "0003", code):
        assert word not in shown + results.read_text()
    held = agree(trial)
    assert len(held) == 2
    assert len(list_quarantine(trial.root)) == 2
    nothing_is_left(trial)
    assert run(trial, path, "--json") == 3
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["outcome"] for outcome in outcomes] == ["stored", "refused", "refused", "stored"]
    assert agree(trial) == held


def test_a_killed_upload_does_not_harm_the_others_and_is_resumed(tmp_path, trial, jobs, capsys):
    for number in range(3):
        upload(tmp_path / f"up{number}", seed=number)
    path = manifest(tmp_path, *(f"S01,000{number},wk00,up{number},yes" for number in range(3)))
    jobs("up1")
    results = tmp_path / "results.csv"
    assert run(trial, path, "--nprocs", "2", "--results", str(results)) == 4
    assert "line 3: S01 wk00 failed: process terminated without output (killed" in capsys.readouterr().out
    assert [row["outcome"] for row in table(results)] == ["accepted", "failed", "accepted"]
    assert len(agree(trial)) == 2
    nothing_is_left(trial)
    jobs()
    assert run(trial, path, "--results", str(results)) == 0
    assert [row["outcome"] for row in table(results)] == ["stored", "accepted", "stored"]
    assert len(agree(trial)) == 3


def test_no_upload_is_started_after_an_interrupt(tmp_path, trial, monkeypatch):
    path = manifest(tmp_path, *(f"S01,000{number},wk00,up{number}," for number in range(9)))
    started = []

    def process(_trial, row, *, dry_run):
        assert not dry_run
        started.append(row.line)
        time.sleep(0.2)
        return UploadOutcome(line=row.line, site=row.site, visit=row.visit, outcome="accepted")

    def interrupted(_outcome):
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest_batch, "_in_own_process", process)
    with pytest.raises(KeyboardInterrupt):
        ingest_batch.ingest_batch(trial.root, path, nprocs=1, report=interrupted)
    assert len(started) <= 2  # the second one before the main thread is interrupted


def test_messages_have_no_blinded_code(tmp_path, trial, jobs, capsys):
    code = ingest(trial, upload(tmp_path / "first")).subject
    upload(tmp_path / "other", seed=3)
    assert run(trial, manifest(tmp_path, "S01,0001,wk00,other,yes")) == 4
    shown = capsys.readouterr().out
    assert "subject (code), visit wk00: expected no accepted scan, found one (received)" in shown
    assert code not in shown


def test_a_dry_run_stores_nothing(tmp_path, trial, jobs, capsys):
    path = four(tmp_path, trial)
    before = content(trial)
    results = tmp_path / "results.csv"
    assert run(trial, path, "--dry-run", "--results", str(results)) == 3
    assert [(row["outcome"], row["dry_run"]) for row in table(results)] == [
        ("stored", "yes"), ("refused", "yes"), ("refused", "yes"), ("accepted", "yes"),
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "line 5: S01 wk04 would be accepted: " in shown
    assert "line 3: S01 wk00 would be refused: expected DICOM images" in shown
    assert content(trial) == before


@pytest.mark.parametrize(
    ("more", "subject", "visit", "code", "text"),
    [
        ({}, "0001", "wk00", 0, "stored already"),
        ({"seed": 1}, "0002", "wk00", 0, "would be accepted"),
        ({}, "0002", "wk00", 3, "expected images of this visit alone"),  # of another subject: an audit entry else
        ({"seed": 2}, "0001", "wk00", 2, "expected no accepted scan, found one (received)"),
    ],
)
def test_a_dry_run_of_one_upload(tmp_path, trial, capsys, more, subject, visit, code, text):
    ingest(trial, upload(tmp_path / "first"))
    sent = upload(tmp_path / "second", **more)
    before = content(trial)
    arguments = ["ingest", str(trial.root), str(sent), "--site", "S01", "--subject", subject, "--visit", visit]
    assert cli.invoke([*arguments, "--before-infusion", "no", "--dry-run"]) == code
    shown = "".join(capsys.readouterr())
    assert text in shown
    assert content(trial) == before
    if not code and "accepted" in text:
        assert "query: " in shown  # the scan came after the infusion


def test_what_was_not_measured_is_a_note_of_the_visit(tmp_path, trial, monkeypatch, capsys):
    message = "FLAIR: the brain was not located"
    note = Finding("not_measured", Action.NOTE, message, Contrast.FLAIR)
    monkeypatch.setattr("qc.decision.judge_images", lambda measures, protocol: [note])
    arguments = ["ingest", str(trial.root), str(upload(tmp_path / "sent")), "--site", "S01", "--subject", "0001"]
    assert cli.invoke([*arguments, "--visit", "wk00", "--before-infusion", "yes", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert message in shown["notes"]
    assert message not in shown["queries"]


@pytest.mark.requirement("INTAKE-02")
def test_a_dry_run_of_a_site_without_dummy_run(tmp_path, trial):
    ingest(trial, upload(tmp_path / "first"))
    before = content(trial)
    sent = upload(tmp_path / "second", seed=1)
    arguments = ["--site", "S02", "--subject", "0001", "--visit", "wk00", "--dry-run"]
    assert cli.invoke(["ingest", str(trial.root), str(sent), *arguments]) == 3
    assert content(trial) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site,subject,visit,upload\nS01,1,wk00,a", "line 1, column before_infusion: expected it, found none"),
        (HEADER + ",arm\nS01,1,wk00,a,,x", f"line 1, column 6: {KNOWN}, found 3 letters"),
        (
            HEADER + ",arm,arm\nS01,1,wk00,a,,x,x",
            f"line 1, column 6: {KNOWN}, found 3 letters; line 1, column 7: {KNOWN}, found 3 letters",
        ),
        (HEADER + ",\nS01,1,wk00,a,,x", f"line 1, column 6: {KNOWN}, found an empty name"),
        (HEADER + "\nS,1,wk00,a,", r"line 2, column site: expected a site of .*, found 1 letter(;|$)"),
        (
            HEADER.replace("visit", "site"),
            (
                "line 1, column visit: expected it, found none; "
                "line 1, column 3: expected each column once, found site again"
            ),
        ),
        (
            HEADER + "\nS99,1,wk00,a,",
            r"line 2, column site: expected a site of trial.toml \(S01, S02.*\), found 3 characters",
        ),
        (
            HEADER + "\n\nS01,1,wk99,a,",
            "line 3, column visit: expected a visit of trial.toml .*, found 4 characters",
        ),
        (
            HEADER + "\nS01,Max Muster,wk00,a,",
            "line 2, column subject: expected a trial number .*, found 10 characters",
        ),
        (HEADER + "\nS01,,wk00,a,", "line 2, column subject: expected a trial number .*, found an empty cell"),
        (HEADER + "\nS01,1,wk00,,", "line 2, column upload: expected the path"),
        (
            HEADER + "\nS01,1,wk00,a,ja",
            "line 2, column before_infusion: expected yes, no or nothing, found 2 letters",
        ),
        (HEADER + "\nS01,1,wk00,a", "line 2: expected 5 cells, found 4"),
        (
            HEADER + "\nS01,1,wk00,a,\nS01,1,wk00,b,",
            "line 3, column visit: expected each visit of a subject once, found it in line",
        ),
        (
            HEADER + "\nS01,1,wk00,a,\nS01,2,wk00,a,",
            "line 3, column upload: expected each upload once, found it in line",
        ),
        (
            HEADER.replace(",", ";") + "\nS01;1;wk00;a;",
            "line 1, character 5: expected commas .*, found semicolons",
        ),
        (HEADER.replace(",", "\t"), "line 1, character 5: expected commas .*, found tabs"),
        ("", "line 1: expected the column names site, subject"),
        (HEADER, "line 1: expected a line for each upload, found the column names alone"),
        (HEADER + '\nS01,"1"2,wk00,a,', "line 2: expected comma-separated cells"),
    ],
)
def test_a_wrong_manifest_is_refused_with_line_and_column(tmp_path, text, message):
    path = tmp_path / "uploads.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as found:
        read_manifest(path, PROTOCOL)
    assert "Muster" not in found.value.message
    assert "S99" not in found.value.message


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "line 1, column 1: expected text in UTF-8, found UTF-16"),
        ("utf-16-le", "line 1, column 1: expected text in UTF-8, found UTF-16"),
        ("latin-1", "line 2, character 13: expected text in UTF-8, found a byte of another encoding"),
    ],
)
def test_another_encoding_is_refused(tmp_path, encoding, message):
    path = tmp_path / "uploads.csv"
    path.write_text(f"{HEADER}\nS01,1,wk00,M\u00fcller,\n", encoding=encoding)
    with pytest.raises(UsageError, match=message) as found:
        read_manifest(path, PROTOCOL)
    assert "CSV UTF-8" in found.value.hint


def test_a_manifest_of_excel_in_utf8_is_read(tmp_path):
    path = tmp_path / "uploads.csv"
    text = "Upload,Site,Subject,Visit,Before_infusion\r\nM\u00fcller,S01,1,wk00,YES\r\n\r\n,,,,\r\n"
    path.write_bytes(text.encode("utf-8-sig"))
    (row,) = read_manifest(path, PROTOCOL)
    assert (row.line, row.site, row.subject, row.visit) == (2, "S01", "1", "wk00")
    assert (row.upload, row.before_infusion) == (tmp_path / "M\u00fcller", True)


def test_a_wrong_manifest_ingests_nothing(tmp_path, trial, jobs, capsys):
    upload(tmp_path / "up0")
    path = manifest(tmp_path, "S01,0001,wk00,up0,yes", "S01,0002,wk77,up1,yes", "S77,0002,wk00,up2,yes")
    before = content(trial)
    assert run(trial, path) == 2
    shown = capsys.readouterr().err
    assert re.search("line 3, column visit: .*; line 4, column site: ", shown)
    assert content(trial) == before


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--subject", "1"], "found --subject beside --manifest"),
        (["--replace", "why"], "found --replace beside --manifest"),
        (["--results", "missing/results.csv"], "expected a folder that can be written"),
        (["--results", "trial"], "expected the name of a file, found a folder"),
        (["--results", "uploads.csv"], "expected a new file, found the manifest"),
    ],
)
def test_options_of_one_upload_do_not_fit_to_a_batch(tmp_path, trial, capsys, monkeypatch, more, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing").write_text("a file")
    assert run(trial, manifest(tmp_path, "S01,1,wk00,a,"), *more) == 2
    assert text in capsys.readouterr().err


def test_one_upload_needs_all_its_options(trial, capsys, tmp_path):
    assert cli.invoke(["ingest", str(trial.root), str(tmp_path), "--site", "S01"]) == 2
    assert "found no --subject, no --visit" in capsys.readouterr().err
    arguments = ["--site", "S01", "--subject", "1", "--visit", "wk00", "--results", str(tmp_path / "r.csv")]
    assert cli.invoke(["ingest", str(trial.root), str(tmp_path), *arguments]) == 2
    assert "found --results without --manifest" in capsys.readouterr().err


def test_the_processes_of_the_batch_are_those_of_the_project(tmp_path, trial):
    """Without a stand-in: the objects of the tests are refused, because they are no heads."""
    upload(tmp_path / "up0")
    path = manifest(tmp_path, "S01,0001,wk00,up0,yes", "S01,0002,wk00,gone,yes")
    results = tmp_path / "results.csv"
    assert run(trial, path, "--results", str(results)) == 4
    refused, gone = table(results)
    assert (refused["outcome"], refused["error"]) == ("refused", "ComplianceError")
    assert (gone["outcome"], gone["exit_code"], gone["error"]) == ("failed", "2", "UsageError")
    with opened(trial) as registry:
        registry.verify_audit()
        assert registry.differences_from_audit() == []


def test_tables_of_a_file_or_pipe_have_all_words(trial, tmp_path):
    ingest(trial, upload(tmp_path / "up"))
    with pytest.raises(ComplianceError):
        ingest(trial, tmp_path / "up", visit="wk04")
    shown = [
        subprocess.run(
            [sys.executable, "-m", "reading_centre", *command, trial.root],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for command in (["status"], ["quarantine", "list"])
    ]
    (row,) = (line for line in shown[0].splitlines() if "received" in line)
    assert row.replace("│", " ").split()[1:] == ["S01", "received", "refused", *["missing"] * 5]
    (entry,) = list_quarantine(trial.root)
    assert entry.reason in shown[1]
