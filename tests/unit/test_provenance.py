"""Which code and settings made a result: the digest of the source, Nipype's cache, the settings digest."""

import shutil
from pathlib import Path

import pytest

import mri_pipeline
from mri_pipeline.core import provenance
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from tests.unit.subject_jobs import subject_job
from workflows.batch import run_batch
from workflows.executors import Execution
from workflows.plugin import Plugin


@pytest.fixture
def source(tmp_path):
    """A copy of the installed lesion rules."""
    return Path(shutil.copytree(Path(mri_pipeline.__file__).parent / "lesions", tmp_path / "lesions"))


def test_the_digest_changes_with_one_character_of_one_file_and_with_its_name(source):
    before = provenance.tree_digest({"lesions": source})
    file = source / "components.py"
    text = file.read_text()
    file.write_text(text.replace("0", "1", 1))
    changed = provenance.tree_digest({"lesions": source})
    file.write_text(text)
    assert provenance.tree_digest({"lesions": source}) == before
    file.rename(source / "other.py")
    renamed = provenance.tree_digest({"lesions": source})
    assert len({before, changed, renamed}) == 3


def test_bytecode_does_not_change_the_digest(source):
    shutil.rmtree(source / "__pycache__", ignore_errors=True)
    before = provenance.tree_digest({"lesions": source})
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert provenance.tree_digest({"lesions": source}) == before


def test_the_digest_covers_every_package_of_the_project():
    root = Path(mri_pipeline.__file__).parents[1]
    packages = {path.parent.name for path in root.glob("*/py.typed")}
    assert packages == {"mri_pipeline", "qc", "workflows", "reading_centre"}
    assert provenance.code_digest() == provenance.tree_digest({name: root / name for name in packages})


def use_other_code(monkeypatch):
    monkeypatch.setattr(provenance, "code_digest", lambda: "0" * 12)
    monkeypatch.setattr("mri_pipeline.analysis.subject_job.code_digest", lambda: "0" * 12)


@pytest.mark.requirement("RUN-03")
def test_equal_settings_under_other_code_have_another_digest(monkeypatch):
    before = provenance.settings_digest(LesionRules())
    assert before == provenance.settings_digest(LesionRules())
    assert before != provenance.settings_digest(LesionRules(t2_min_volume_mm3=15.0))
    use_other_code(monkeypatch)
    assert before != provenance.settings_digest(LesionRules())
    assert provenance.software()["mri-pipeline source"] == "0" * 12


@pytest.fixture
def job(tmp_path):
    return subject_job(tmp_path, {"wk00": {Contrast.FLAIR: tmp_path / "f.nii.gz"}})


def test_other_code_starts_a_new_cache(monkeypatch, job):
    assert not job.cached_by_other_code  # the first run of all
    cache = job.subject_work
    job.save()
    assert not job.cached_by_other_code
    use_other_code(monkeypatch)
    assert job.subject_work != cache
    assert job.cached_by_other_code
    job.save()
    assert not job.cached_by_other_code


def test_a_run_by_other_code_says_that_it_starts_anew(monkeypatch, caplog, job):
    monkeypatch.setattr("workflows.executors.PROGRAM", ("true",))

    def run():
        caplog.clear()
        run_batch([job], Execution(Plugin.LINEAR, nprocs=1))
        return caplog.text

    assert "software has changed" not in run()
    assert "software has changed" not in run()
    use_other_code(monkeypatch)
    assert "software has changed since the last run: 1 subjects are analysed from the start" in run()
    assert "software has changed" not in run()
