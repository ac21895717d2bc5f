"""The intake as a workflow: errors keep their class and hint, and nothing identified is left anywhere."""

import logging
import pickle
import subprocess
import sys

import pytest
from nipype.utils.filemanip import loadpkl

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import ComplianceError, IdentityError, UnreadableUploadError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.visits import Contrast
from qc import conversion
from qc.compliance import UploadPurpose
from tests.unit import dicom_factory as factory
from tests.unit.ingest_trial import IDENTITIES, agree, identified, ingest, new_trial, upload
from workflows import engine
from workflows.intake import IntakeJob, run_intake
from workflows.interfaces import intake as steps

pytestmark = pytest.mark.usefixtures("no_image_checks")


@pytest.fixture
def job(tmp_path):
    trial = Trial(tmp_path / "trial")
    Sealed.create(trial)
    sent = upload(tmp_path / "up")

    def make(**changes):
        given = {"purpose": UploadPurpose.VISIT, "code": "AB12"} | changes
        return IntakeJob(sent, trial.root, parse_protocol(protocol_text()), **given)

    return make


def test_an_upload_passes_all_nodes(job, tmp_path):
    result = run_intake(job(), tmp_path / "work")
    converted = result.require()
    assert set(converted.files) == set(converted.measures) == set(converted.images()) == set(result.checked.chosen)
    assert result.refusal is None


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("unpack", UnreadableUploadError("expected this, found that", hint="do so")),
        ("choose_series", UsageError("expected this, found that", hint="do so")),
        ("deidentify_chosen", IdentityError("an alarm", hint="clear it", elements=["4/SoftwareVersions"])),
        ("convert_chosen", ZeroDivisionError("nobody expected this")),
        ("measure_visit", OSError(28, "No space left on device")),
        ("measure_visit", KeyboardInterrupt()),
    ],
)
def test_the_error_of_a_step_comes_out_as_it_was(job, tmp_path, monkeypatch, step, error):
    def fails(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(steps, step, fails)
    with pytest.raises(type(error)) as found:
        run_intake(job(), tmp_path / "work").require()
    assert found.value is error


def test_a_refusal_after_the_headers_comes_with_what_they_say(job, tmp_path, monkeypatch):
    def fails(*_args, **_kwargs):
        raise UnreadableUploadError("FLAIR: no volume")

    monkeypatch.setattr(conversion, "convert_series", fails)
    result = run_intake(job(purpose=UploadPurpose.DUMMY_RUN), tmp_path / "work")
    assert set(result.checked.chosen) >= {Contrast.FLAIR}
    assert (result.converted, result.refusal.message) == (None, "FLAIR: no volume")


def test_headers_refuse_a_visit_before_it_is_deidentified_and_not_a_dummy_run(tmp_path, job, monkeypatch):
    made = job()
    refused = made.protocol.model_copy(
        update={"acquisition": made.protocol.acquisition.model_copy(update={"min_field_strength_t": 7.0})}
    )
    monkeypatch.setattr(conversion, "deidentify", lambda *_: pytest.fail("it was de-identified"))
    strict = IntakeJob(made.upload, made.trial, refused, UploadPurpose.VISIT, code="AB12")
    with pytest.raises(ComplianceError, match="expected a field strength of at least 7"):
        run_intake(strict, tmp_path / "work").require()


def test_no_file_of_nipype_holds_a_secret(job, tmp_path):
    made = job()
    run_intake(made, tmp_path / "work")
    sealed = Sealed.open(Trial(made.trial))
    secrets = [sealed.secret(purpose) for purpose in ("intake", "blinding")]
    kept = [path for path in (tmp_path / "work").rglob("*.pklz") if path.is_file()]
    assert kept
    for path in kept:
        content = pickle.dumps(loadpkl(path))
        assert not [secret for secret in secrets if secret in content or secret.hex().encode() in content]


@pytest.mark.parametrize("fault", ["none", "refused", "unexpected"])
@pytest.mark.requirement("INTAKE-04")
def test_nothing_identified_is_left_outside_of_the_quarantine(tmp_path, monkeypatch, caplog, capfd, fault):
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    trial = new_trial(tmp_path / "trial")
    folder = upload(tmp_path / "Mustermann", patient=factory.Patient())
    if fault != "none":
        error = (
            UnreadableUploadError("FLAIR: no volume") if fault == "refused" else ZeroDivisionError("unexpected")
        )

        def fails(*_args, **_kwargs):
            raise error

        monkeypatch.setattr(conversion, "convert_series", fails)
        with pytest.raises(type(error)):
            ingest(trial, folder)
    else:
        ingest(trial, folder)
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"trial", "Mustermann"}
    assert not list(trial.work.glob("intake-*"))
    assert identified(trial) == []
    shown = "".join([caplog.text, *capfd.readouterr()])
    assert not [name for name in IDENTITIES if name.decode() in shown]
    agree(trial)


def test_a_full_disk_of_nipype_itself_is_a_fault_of_the_disk(job, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nipype.pipeline.engine.nodes.savepkl", full)
    monkeypatch.setattr("nipype.pipeline.plugins.linear.report_crash", full)
    with pytest.raises(OSError, match="No space left"):
        run_intake(job(), tmp_path / "work")
    assert engine.logging.getLogger("nipype.workflow").level != logging.CRITICAL


def test_the_intake_does_not_load_what_it_seldom_needs():
    seldom = {"SimpleITK", "matplotlib", "onnxruntime", "scipy.stats"}
    program = f"import sys, workflows.intake; print(*{seldom} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
