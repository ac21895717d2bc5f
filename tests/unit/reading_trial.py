"""An analysed trial without reads, and readers who fill in worklists."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from benchmarks.tables import write_trial
from mri_pipeline.analysis.space import make_record
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.itk import save_transform
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import Affine, LabelImage
from mri_pipeline.registry import Registry

READERS = """
[[readers]]
code = "R1"
[[readers]]
code = "R2"
[[readers]]
code = "R3"
[[readers]]
code = "ADJ"
role = "adjudicator"
"""


def write_unread_trial(folder: Path, *, subjects: int = 1, shape: tuple[int, int, int] = (40, 44, 14)) -> Trial:
    """Subjects BENCH000 and so on, analysed at all visits, not read; faces are kept."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("record_reads", "lock_reads"):
            patch.setattr(Registry, name, lambda self, reads, **kwargs: None)
        trial = write_trial(folder, subjects=subjects, shape=shape)
    shutil.rmtree(trial.reads)
    trial.reads.mkdir()
    for number in range(subjects):
        write_kept_space(trial, f"BENCH{number:03d}")
    edit_protocol(trial, "deface = true", "deface = false")
    return trial


def write_kept_space(trial: Trial, subject: str) -> None:
    """The files of a subject's space, from its location map."""
    space = trial.derivatives.space(subject)
    location = nifti.load_labels(space.location)
    nifti.save(LabelImage(location.mask, location.grid), space.brain)
    for path in space.maps.values():
        shutil.copyfile(space.location, path)
    save_transform(Affine.identity(), space.template_to_subject)
    space.record.write_text(make_record([], {}, None).model_dump_json())


def copy_of(original: Trial, tmp_path: Path, *beside: str) -> Trial:
    """A copy of a trial for one test, with folders that lie beside it."""
    shutil.copytree(original.root, tmp_path / "trial")
    for name in beside:
        shutil.copytree(original.root.parent / name, tmp_path / name)
    return Trial(tmp_path / "trial")


def edit_protocol(trial: Trial, old: str, new: str, more: str = "") -> None:
    text = trial.protocol_file.read_text()
    assert old in text
    trial.protocol_file.write_text(text.replace(old, new) + more)


def opened(trial: Trial) -> Registry:
    return Registry.open(trial, load_protocol(trial.protocol_file))


def visits_of(trial: Trial, subject: str = "BENCH000"):
    with opened(trial) as registry:
        assert registry.differences_from_audit() == []
        return {visit.visit: visit for visit in registry.subject(subject).visits}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def lesions_but_no_holes(_code: str, row: dict[str, str]) -> str:
    """Some simulated black holes lie at enhancing lesions, where they are refused."""
    return "reject" if row["type"] == "BH" else "accept"


def decide(worklist: Path, word=lesions_but_no_holes, codes=None) -> Path:
    """Decide every lesion, and mark the items as read."""
    done = rows_of(worklist / "worklist.csv")
    for item in done:
        code = item["reading_code"]
        if codes is not None and code not in codes:
            continue
        item["done"] = "yes"
        path = worklist / "items" / code / "lesions.csv"
        rows = rows_of(path)
        for row in rows:
            row["decision"] = word(code, row)
        if rows:
            write_rows(path, rows)
    write_rows(worklist / "worklist.csv", done)
    return worklist
