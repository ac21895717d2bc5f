"""The official BIDS validator on the input of `bids`, and on its output folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.core.errors import ExternalToolError, UsageError
from mri_pipeline.core.protocol import LesionRules
from reading_centre.use_cases.analysis import validate
from reading_centre.use_cases.analysis.validate import require_valid

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "bids"
    anat = folder / "sub-01" / "ses-1" / "anat"
    anat.mkdir(parents=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    (folder / "README").write_text("x")
    (anat / "sub-01_ses-1_FLAIR.nii.gz").symlink_to(tmp_path / "annex" / "nothing")
    (anat / "sub-01_ses-1_T1w.nii.gz").touch()
    return folder


def test_images_that_cannot_be_read_are_left_to_the_analysis(dataset):
    require_valid(dataset)


def test_a_dataset_with_an_error_is_refused_and_the_error_named(dataset):
    (dataset / "sub-01" / "ses-1" / "anat" / "notes.txt").write_text("x")
    with pytest.raises(
        UsageError, match=r"found 1 errors of the validator: NOT_INCLUDED /sub-01/.*notes.txt"
    ) as error:
        require_valid(dataset)
    assert "--skip-bids-validation" in error.value.hint


def test_a_validator_that_fails_is_named(dataset, tmp_path, monkeypatch):
    broken = tmp_path / "validator"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(validate.shutil, "which", lambda *_args, **_options: str(broken))
    with pytest.raises(ExternalToolError, match=r"expected a JSON report, found none \(exit code 3\)"):
        require_valid(dataset)


def test_an_output_folder_with_tables_work_and_reports_in_it_passes(tmp_path):
    out = tmp_path / "out"
    write_dataset_description(out, settings_digest="x", rules=LesionRules(), raw=tmp_path / "raw")
    for file in (
        "work/v1/sub-01/job.json",
        "work/logs/sub-01.log",
        "tables/lesions.csv",
        "reports/sub-01.html",
        "sub-01/sub-01_desc-lesions_result.json",
        "sub-01/sub-01_desc-input_index.json",
        "sub-01/sub-01_desc-outcome_result.json",
        "sub-01/sub-01_desc-provenance_result.json",
        "sub-01/anat/sub-01_space-subject_space.json",
        "sub-01/anat/sub-01_from-template_to-subject_mode-image_xfm.txt",
    ):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text("{}")
    done = subprocess.run([VALIDATOR, "--json", str(out)], capture_output=True, text=True, check=False)
    errors = [i for i in json.loads(done.stdout)["issues"]["issues"] if i["severity"] == "error"]
    assert [(issue["code"], issue.get("location")) for issue in errors] == []
    shutil.copy(out / "tables" / "lesions.csv", out / "sub-01" / "anat" / "stray.csv")  # the validator does look
    done = subprocess.run([VALIDATOR, "--json", str(out)], capture_output=True, text=True, check=False)
    assert any(i["code"] == "NOT_INCLUDED" for i in json.loads(done.stdout)["issues"]["issues"])
