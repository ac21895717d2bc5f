"""The error boundary: one line, a hint, the exit code of the contract."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from mri_pipeline.core.errors import (
    AnalysisError,
    ExternalToolError,
    ReadingCentreError,
    UploadRefusedError,
    UsageError,
)
from reading_centre import cli
from reading_centre.command_options import require_writable


def errors(kind=ReadingCentreError):
    for child in kind.__subclasses__():
        yield child
        yield from errors(child)


@pytest.mark.parametrize("kind", sorted(set(errors()), key=lambda kind: kind.__name__))
def test_every_error_has_an_exit_code_of_the_contract_and_survives_a_process_border(kind):
    error = pickle.loads(pickle.dumps(kind("expected this, found that", hint="do this")))
    assert type(error) is kind
    assert (error.message, error.hint) == ("expected this, found that", "do this")
    base = next(
        b for b in (UsageError, UploadRefusedError, AnalysisError, ExternalToolError) if issubclass(kind, b)
    )
    assert error.exit_code == {UsageError: 2, UploadRefusedError: 3, AnalysisError: 4, ExternalToolError: 1}[base]


def test_help_names_every_command_and_exit_code(capsys):
    assert cli.invoke(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "init", "dummy-run", "ingest", "run", "read", "tables", "status", "demo", "bids", "segment", "evaluate",
        "query", "quarantine", "receive",
    ):  # fmt: skip
        assert f"\n  {command} " in text
    assert "..." not in text.partition("Commands:")[2], "a summary is cut"
    assert "Exit codes: 0 done" in text


DATASET = "expected a BIDS dataset with dataset_description.json"
MASKS = "expected either --predicted and --reference, or --pairs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "{tmp}"], "expected a trial folder with trial.toml, found a folder without it"),
        (["status", "{tmp}/none"], "expected a trial folder with trial.toml, found nothing at that path"),
        (["status", "{file}"], "expected a trial folder with trial.toml, found a file"),
        (
            ["ingest", "{tmp}", "x", "--site", "S01", "--subject", "1", "--visit", "wk00"],
            "expected a trial folder",
        ),
        (
            ["read", "{tmp}"],
            "expected one of --export DIR, --import DIR, --lock, --unlock and --account, found none",
        ),
        (["read", "{tmp}", "--lock"], "expected --reader"),
        (["init", "{tmp}/new", "--protocol", "nothing"], "expected a known protocol"),
        (["bids", "{tmp}", "{tmp}/out", "participant"], f"{DATASET}, found a folder without it"),
        (["bids", "{tmp}/none", "{tmp}/out", "participant"], f"{DATASET}, found nothing at that path"),
        (
            ["segment", "--flair", "{file}", "--out", "{tmp}"],
            "expected a NIfTI image, found notes.txt that cannot be read (HeaderDataError: no N",
        ),
        (["evaluate", "--out", "{tmp}"], f"{MASKS}, found none of them"),
        (["evaluate", "--predicted", "{tmp}", "--out", "{tmp}"], f"{MASKS}, found --predicted"),
        (
            ["segment", "--flair", "{tmp}/none.nii.gz", "--out", "{tmp}"],
            "expected an image file, found none named",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    file = tmp_path / "notes.txt"
    file.write_text("not an image, but longer than the header of one: " * 20)
    assert cli.invoke([a.format(tmp=tmp_path, file=file) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert len(captured.err.splitlines()) <= 2
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["bids", "a", "b", "elsewhere"], ["ingest", "t", "u"]]
)
def test_wrong_options_are_exit_code_2(capsys, arguments):
    assert cli.invoke(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can create a folder")
@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "{out}"],
        ["demo", "{out}"],
        ["bids", "{here}", "{out}", "participant"],
        ["bids", "{here}", "{here}/out", "participant", "-w", "{out}"],
        ["segment", "--flair", "{here}/flair.nii.gz", "--out", "{out}"],
        ["evaluate", "--pairs", "{here}/pairs.csv", "--out", "{out}"],
        ["read", "{here}", "--export", "{out}"],
        ["tables", "{here}", "--release", "{out}", "--reason", "end of the trial"],
        ["--log-file", "{out}/log.txt", "status", "{here}"],
    ],
    ids=lambda arguments: " ".join(argument for argument in arguments if "{" not in argument),
)
def test_a_folder_that_cannot_be_created_is_one_line_and_exit_code_2(tmp_path, capsys, arguments):
    out = Path("/proc/none/out")
    assert cli.invoke([argument.format(here=tmp_path, out=out) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(
        "error: expected a folder that can be written, found: No such file or directory\n"
    )
    assert captured.err.splitlines()[1:] == [f"Hint:  check {out}"]
    assert not any(tmp_path.iterdir()), "a refused command leaves nothing"


@pytest.mark.parametrize("name", ["", "new", "new/folder"])
def test_the_check_of_a_folder_leaves_nothing(tmp_path, name):
    assert require_writable(tmp_path / name) == tmp_path / name
    assert not any(tmp_path.iterdir())


def test_a_folder_inside_of_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="expected a folder that can be written, found: Not a directory"):
        require_writable(tmp_path / "file" / "out")


def test_an_unexpected_error_keeps_its_traceback(tmp_path, monkeypatch):
    def fault(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("reading_centre.use_cases.office.status.trial_status", fault)
    with pytest.raises(ZeroDivisionError):
        cli.invoke(["status", str(tmp_path)])


def test_a_trial_is_laid_out_once(tmp_path, capsys):
    trial = tmp_path / "trial"
    assert cli.invoke(["init", str(trial)]) == 0
    assert cli.invoke(["status", str(trial), "--json"]) == 0
    state = json.loads(capsys.readouterr().out.split("upload\n", 1)[1])
    assert [site["gate"] for site in state["sites"]] == ["none", "none"]
    assert state["visits"] == ["wk00", "wk04", "wk12", "wk24", "wk28", "wk36", "wk48"]
    assert (trial / "sealed").stat().st_mode & 0o077 == 0
    assert cli.invoke(["init", str(trial)]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err


def test_run_without_scans_says_what_to_do(tmp_path, capsys):
    cli.invoke(["init", str(tmp_path / "trial")])
    assert cli.invoke(["run", str(tmp_path / "trial")]) == 2
    assert "take uploads in with 'mri-pipeline ingest'" in capsys.readouterr().err
    assert cli.invoke(["run", str(tmp_path / "trial"), "--subject", "AB12"]) == 2
    assert "expected blinded codes" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_no_large_library(option):
    code = (
        "import sys\nfrom reading_centre import cli\n"
        f"assert cli.invoke(['{option}']) == 0\n"
        "large = {'nipype', 'SimpleITK', 'nibabel', 'pydicom', 'scipy', 'pydantic'}\n"
        "print('loaded:', sorted(large & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "loaded: []"
