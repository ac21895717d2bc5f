"""A locked endpoint depends on no file that can change: the lock keeps copies with their digests."""

import gzip
import shutil
from dataclasses import replace

import pytest

from benchmarks.tables import write_trial
from mri_pipeline.analysis.derivatives import files_of_counts
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result, save_result
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Registry
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.reading_trial import copy_of

CODE = "BENCH001"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "lock_reads", lambda self, reads, **kwargs: None)
        trial = write_trial(tmp_path_factory.mktemp("bench") / "trial", subjects=2, shape=(40, 44, 14))
    assert lock_reads(trial.root, reader="R1") == {"locked": 14}
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


def tables(trial):
    written = write_trial_tables(trial.root, provisional=False)
    return {path.name: path.read_bytes() for path in written.files}, written


@pytest.mark.requirement("READ-04")
def test_another_flair_after_the_lock_changes_no_table_and_is_named(trial):
    before, written = tables(trial)
    assert (written.notes, dict(written.refused)) == ((), {})
    flairs = [trial.derivatives.image(CODE, visit, Contrast.FLAIR) for visit in ("wk00", "wk04")]
    shutil.copyfile(flairs[0], flairs[1])
    shutil.copyfile(flairs[0], trial.derivatives.t1_hypointensity(CODE, "wk12"))
    after, written = tables(trial)
    assert after == before
    assert [note.split(" of the analysis")[0] for note in written.notes] == [
        f"subject {CODE}, visit wk04: FLAIR.nii.gz",
        f"subject {CODE}, visit wk12: t1_hypointensity.nii.gz",
    ]


def test_another_compression_after_the_lock_is_no_change(trial):
    flair = trial.derivatives.image(CODE, "wk04", Contrast.FLAIR)
    packed = flair.read_bytes()
    flair.write_bytes(gzip.compress(gzip.decompress(packed), 9))
    assert flair.read_bytes() != packed
    _, written = tables(trial)
    assert written.notes == ()


@pytest.mark.parametrize("name", ["FLAIR.nii.gz", "t1_hypointensity.nii.gz", "location.nii.gz"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
@pytest.mark.requirement("READ-04")
def test_a_changed_copy_is_refused_by_its_name(trial, name, damage):
    copy = trial.reads / CODE / "wk12" / "locked" / name
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.unlink()
    if damage == "changed":
        copy.write_bytes(content)
    _, written = tables(trial)
    assert f"visit wk12: expected {name} as it was when the read was locked, found it {damage}" in (
        written.refused[CODE].message
    )


def test_copies_are_those_of_the_lock_and_private(trial):
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        inputs = registry.locked_inputs()[CODE, "wk04"]
    files = files_of_counts(trial.derivatives, CODE, "wk04")
    assert set(inputs["files"]) == set(files)
    for name, path in files.items():
        copy = trial.reads / CODE / "wk04" / "locked" / name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o400


def test_other_rules_than_those_of_the_lock_are_refused_by_name(trial):
    """The results of the analysis are renewed under the other rules; the reads are not."""
    text = trial.protocol_file.read_text()
    assert "t2_min_volume_mm3 = 14.0" in text
    trial.protocol_file.write_text(text.replace("t2_min_volume_mm3 = 14.0", "t2_min_volume_mm3 = 15.0"))
    rules = load_protocol(trial.protocol_file).lesions
    for code in (CODE, "BENCH000"):
        result = load_result(trial.derivatives.result(code))
        save_result(replace(result, rules_digest=settings_digest(rules)), trial.derivatives.result(code))
    message = "expected the lesion rules under which the read was locked, found another t2_min_volume_mm3"
    with pytest.raises(UsageError, match=message):
        tables(trial)
