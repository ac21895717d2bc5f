"""End-to-end tests of the digital reference trial: one demo run, of which every output is checked."""

import csv
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.uid import generate_uid

from benchmarks.registration.labels import resample_labels
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.visits import Contrast
from mri_pipeline.dicom_export.codes import KINDS
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.phantom.trial import ReferenceTrial, made_up_patient, visit_study
from mri_pipeline.registry import Registry
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from reading_centre.qualification.limits import load_limits
from reading_centre.qualification.reference import Reference
from reading_centre.qualification.reference_checks import limit_checks
from reading_centre.use_cases.demo import ReferenceRun
from reading_centre.use_cases.qualify import OQ_LOCKED, OQ_REFERENCE, check_reference
from tests.unit.export_trial import faults
from tests.unit.registry_steps import withdraw_scan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert cli.invoke(["demo", str(folder), "--nprocs", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def trial(demo):
    return Trial(demo / "trial")


@pytest.fixture(scope="module")
def source(demo):
    return ReferenceTrial.load(demo / "source")


@pytest.fixture
def copy(trial, tmp_path):
    """The trial as it was after the demo, to be changed at will (work/ stays behind: it names the old folder)."""
    folder = tmp_path / "trial"
    shutil.copytree(trial.root, folder, ignore=shutil.ignore_patterns("work"))
    (folder / "work").mkdir()
    return Trial(folder)


def timepoints(trial):
    return read_table(trial.tables / "lesion_timepoints.csv")


@pytest.mark.requirement("INTAKE-01", "INTAKE-03")
def test_the_low_field_site_is_refused_and_its_upload_kept(trial, capsys):
    assert cli.invoke(["status", str(trial.root), "--json"]) == 0
    gates = {site["code"]: site["gate"] for site in json.loads(capsys.readouterr().out)["sites"]}
    assert gates == {"S01": "accepted", "S02": "refused"}
    (kept,) = trial.quarantine.iterdir()
    reason = json.loads((kept / "reason.json").read_text())
    assert "expected a field strength of at least 1.5 T, found 1 T" in reason["reason"]
    assert any((kept / "upload").rglob("*"))


@pytest.mark.requirement("TABLE-01")
def test_a_missing_visit_is_a_row_without_numbers(trial):
    rows = timepoints(trial)
    assert len(rows) == 6
    (missing,) = [row for row in rows if row["scan_status"] == "missing"]
    assert missing["week"] == "4"
    assert {v for k, v in missing.items() if k not in {"subject", "visit", "week", "scan_status"}} == {""}


@pytest.mark.requirement("TABLE-02")
def test_first_visits_have_no_comparison_and_all_others_have(trial):
    for row in timepoints(trial):
        if row["scan_status"] == "analysed":
            compared = [row[name] for name in ("new_t2_count", "gel_new_count", "combined_unique_active_count")]
            assert all(compared) if row["reference_visit"] else not any(compared)
            assert row["gel_count"]
            assert float(row["t2_volume_ml"]) > 0


@pytest.mark.requirement("LESION-03")
def test_enhancing_lesions_are_those_that_were_put_there(trial, source):
    """None at a wrong place and none missed: by its place in the subject's space, not by the count.

    All are at least 5 mm and 45 % brighter.
    """
    visits = [(row["subject"], row["visit"]) for row in timepoints(trial) if row["scan_status"] == "analysed"]
    number_of = {code: number for number, code in subject_codes(trial, source).items()}
    known = wrong = missed = 0
    for subject, visit in visits:
        found = nifti.load_labels(trial.derivatives.mask(subject, visit, MaskLabel.GEL))
        folder = source.truth / number_of[subject]
        pose = load_transform(folder / f"{visit}_from-subject_to-FLAIR.txt")
        to_subject = load_transform(trial.derivatives.transform(subject, visit, Contrast.FLAIR)) @ pose
        truth = resample_labels(nifti.load_labels(folder / f"{visit}_gel.nii.gz"), found.grid, to_subject)
        numbers = set(np.unique(truth.data)) - {0}
        known += len(numbers)
        missed += sum(not found.mask[truth.data == n].any() for n in numbers)
        parts = label_lesions(found.mask, found.grid, min_volume_mm3=0)
        wrong += len(set(range(1, int(parts.data.max()) + 1)) - set(np.unique(parts.data[truth.mask])))
    assert known == 12
    assert wrong == 0
    assert missed == 0


def subject_codes(trial, source):
    """The blinded code by trial number: one subject misses a visit, the other none."""

    def by_missing(rows):
        missing = Counter(row["subject"] for row in rows if row["scan_status"] == "missing")
        return {missing[row["subject"]]: row["subject"] for row in rows}

    codes, numbers = by_missing(timepoints(trial)), by_missing(read_table(source.truth / "lesion_timepoints.csv"))
    return {numbers[missing]: codes[missing] for missing in (0, 1)}


def known_identities(source):
    for upload in source.uploads:
        if upload.subject:
            patient = made_up_patient(upload.subject, source.seed)
            yield from patient.name.split("^")
            yield patient.patient_id
            yield f"{patient.birth_date:%Y%m%d}"
            study = visit_study(upload.subject, upload.visit, source.seed)
            yield f"{study.started:%Y%m%d}"
            yield f"{study.started:%Y-%m-%d}"
            yield upload.subject


@pytest.mark.requirement("INTAKE-04")
def test_no_identity_leaves_the_gate(trial, source):
    """Names, numbers, birth dates, scan dates and trial numbers stand nowhere but in sealed/ and quarantine/."""
    pattern = re.compile(
        "|".join(re.escape(i) for i in sorted(set(known_identities(source)))).encode(), re.IGNORECASE
    )
    looked_at = 0
    for path in trial.root.rglob("*"):
        inside = path.relative_to(trial.root).parts[0]
        if not path.is_file() or inside in {"sealed", "quarantine"}:
            continue
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = bytes(nib.load(path).header.binaryblock)
        elif path.suffix == ".nii":
            content = content[:352]
        elif path.suffix == ".html":  # embedded pictures are random text
            content = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", content)
        elif path.suffix in {".pklz", ".sqlite-wal"}:
            continue
        assert not pattern.search(str(path.relative_to(trial.root)).encode())
        assert not pattern.search(content), path.relative_to(trial.root)
        looked_at += 1
    assert looked_at > 100


def validate(dataset):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    result = subprocess.run([validator, "--json", str(dataset)], capture_output=True, text=True, check=False)
    issues = json.loads(result.stdout)["issues"]["issues"]
    return [(i["code"], i.get("subCode"), i["location"]) for i in issues if i["severity"] == "error"]


def test_rawdata_and_derivatives_are_valid_bids(trial):
    assert validate(trial.rawdata.root) == []
    assert validate(trial.derivatives.root) == []


def test_derivatives_fit_together(trial):
    """Masks, numbers and tables of one visit say the same."""
    lesions = read_table(trial.tables / "lesions.csv")
    for row in timepoints(trial):
        if row["scan_status"] != "analysed":
            continue
        subject, visit = row["subject"], row["visit"]
        t2 = nib.load(trial.derivatives.mask(subject, visit, MaskLabel.T2_LESION))
        voxel_ml = abs(np.linalg.det(t2.affine[:3, :3])) / 1000
        assert np.count_nonzero(t2.dataobj) * voxel_ml == pytest.approx(float(row["t2_volume_ml"]), abs=2e-4)
        numbers = nib.load(trial.derivatives.lesions(subject, visit))
        in_table = {
            int(r["lesion_id"]) for r in lesions
            if (r["subject"], r["visit"]) == (subject, visit) and r["t2_state"] != "vanished"
        }  # fmt: skip
        assert set(np.unique(numbers.dataobj)) - {0} == in_table
        with (
            trial.derivatives.lesions(subject, visit)
            .with_name(trial.derivatives.lesions(subject, visit).name.replace(".nii.gz", ".tsv"))
            .open() as file
        ):
            assert in_table <= {int(r["index"]) for r in csv.DictReader(file, delimiter="\t")}


def test_reports_are_there(trial):
    for code in {row["subject"] for row in timepoints(trial)}:
        html = (trial.reports / f"sub-{code}.html").read_text()
        assert code in html
        assert "http://" not in html.replace("http://www.w3.org", "")


def test_the_index_lists_every_subject_by_its_code_and_the_methods_text_what_was_used(trial):
    index = (trial.reports / "index.html").read_text()
    rows = timepoints(trial)
    codes = sorted({row["subject"] for row in rows})
    assert re.findall(r'<a href="sub-(\w+)\.html">', index) == codes
    assert "2 subjects: <b>2</b> done." in index
    assert not re.search(r"\bS0[12]\b", index)  # no site
    cells = re.findall(r'<td class="l">(wk\d+)</td><td class="l">(\w+)</td><td>(\d*)</td>', index)
    assert sorted(cells) == sorted((row["visit"], row["scan_status"], row["t2_count"]) for row in rows)
    methods = (trial.reports / "CITATION.md").read_text()
    assert "MRI scans of 2 subjects (5 visits)" in methods
    for step in (
        "dcm2niix",
        "T1w after gadolinium (5)",
        "midpoint space",
        "Black holes",
        "new, persistent or re-enha",
    ):
        assert step in methods


@pytest.mark.requirement("RUN-02")
def test_a_second_run_analyses_nothing_and_changes_no_byte(trial, capsys):
    assert cli.invoke(["tables", str(trial.root), "--provisional"]) == 0
    kept = (trial.tables, trial.derivatives.root)
    before = {path: path.read_bytes() for folder in kept for path in folder.rglob("*") if path.is_file()}
    assert sum(path.stat().st_size for path in trial.work.rglob("*") if path.is_file()) < 10e6  # five visits
    capsys.readouterr()
    assert cli.invoke(["run", str(trial.root), "--nprocs", "2", "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert all(o["done"] and o["unchanged"] for o in outcome)
    assert cli.invoke(["tables", str(trial.root), "--provisional"]) == 0
    assert {path: path.read_bytes() for folder in kept for path in folder.rglob("*") if path.is_file()} == before
    assert cli.invoke(["verify", str(trial.root)]) == 0


def decide(worklist, decide_row, done="yes"):
    for path in (worklist / "items").glob("*/lesions.csv"):
        rows = read_table(path)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys() if rows else ["reading_code"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(row | {"decision": decide_row(row)} for row in rows)
    path = worklist / "worklist.csv"
    rows = [row | {"done": done} for row in read_table(path)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.requirement("TABLE-05", "READ-01")
def test_accepting_everything_confirms_the_same_counts_and_locks(copy, tmp_path, capsys):
    automatic = timepoints(copy)
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    assert set(json.loads((worklist / "worklist.json").read_text())["faces"].values()) == {"defaced"}
    decide(worklist, lambda row: "accept")
    assert cli.invoke(["tables", str(copy.root)]) == 2
    assert "expected locked reads, found none" in capsys.readouterr().err
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 0
    confirmed = timepoints(copy)
    assert {row["read_status"] for row in confirmed} == {"confirmed", ""}
    assert [row | {"read_status": ""} for row in confirmed] == [row | {"read_status": ""} for row in automatic]
    assert cli.invoke(["read", str(copy.root), "--lock", "--reader", "R1"]) == 0
    assert cli.invoke(["tables", str(copy.root), "--nprocs", "2"]) == 0
    assert {row["read_status"] for row in timepoints(copy)} == {"locked", ""}
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 2
    assert cli.invoke(["export-dicom", str(copy.root)]) == 0
    for row in timepoints(copy):
        report = copy.root / "dicom" / f"sub-{row['subject']}" / f"ses-{row['visit']}" / "measurements_sr.dcm"
        assert report.exists() is (row["read_status"] == "locked")
        if report.exists():
            totals = srread(report).content.get_image_measurement_groups()
            found = {
                group.finding_type.value: group.get_measurements()[0].value
                for group in totals
                if " all " in group.tracking_identifier  # the others are lesions without a voxel on the FLAIR
            }
            columns = {kind.code.value: row[kind.counted] for kind in KINDS.values()}
            assert found == {code: int(count) for code, count in columns.items() if count}
    assert {path.name: faults(path) for path in copy.root.rglob("dicom/sub-*/ses-*/*.dcm") if faults(path)} == {}


@pytest.mark.requirement("READ-01")
def test_rejecting_an_enhancing_lesion_takes_it_from_the_count(copy, tmp_path):
    before = sum(int(row["gel_count"] or 0) for row in timepoints(copy))
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    proposed = [row for path in (worklist / "items").glob("*/lesions.csv") for row in read_table(path)]
    gel = sum(row["type"] == "GEL" for row in proposed)
    assert gel == before
    decide(worklist, lambda row: "reject" if (row["type"], row["lesion"]) == ("GEL", "1") else "accept")
    rejected = sum((row["type"], row["lesion"]) == ("GEL", "1") for row in proposed)
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 0
    assert sum(int(row["gel_count"] or 0) for row in timepoints(copy)) == before - rejected


@pytest.mark.requirement("RUN-04")
def test_one_visit_that_fails_leaves_all_others_done(copy, capsys):
    good, bad = sorted({row["subject"] for row in timepoints(copy)})
    for path in copy.rawdata.anat(bad, "wk00").glob("*_FLAIR.nii.gz"):
        path.write_bytes(path.read_bytes()[:2000])
    for result in (good, bad):
        copy.derivatives.result(result).unlink()
    assert cli.invoke(["run", str(copy.root), "--nprocs", "2"]) == 4
    out = capsys.readouterr().out
    assert f"sub-{good}: done" in out
    assert f"sub-{bad}: done" in out
    assert re.search(r"  wk00 FAILED: .*FLAIR\.nii\.gz.*cannot be read", out)
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 0
    rows = {(row["subject"], row["visit"]): row for row in timepoints(copy)}
    assert rows[good, "wk00"]["scan_status"] == "analysed"
    assert (rows[bad, "wk00"]["scan_status"], rows[bad, "wk00"]["t2_count"]) == ("failed", "")
    assert (rows[bad, "wk12"]["scan_status"], rows[bad, "wk12"]["t2_count"] != "") == ("analysed", True)
    assert not copy.derivatives.anat(bad, "wk00").exists()  # nothing of an earlier run passes for this one's
    report = (copy.reports / f"sub-{bad}.html").read_text()
    assert "Visual QC required." in report
    assert "wk00: not analysed: expected a NIfTI image" in report
    index = (copy.reports / "index.html").read_text()
    assert "2 subjects: <b>1</b> done, <b>1</b> partly done." in index
    assert "wk00: not analysed: expected a NIfTI image" in index


def test_uploads_and_trials_may_be_named_relative_to_here(copy, source, monkeypatch, capsys):
    monkeypatch.chdir(copy.root.parent)
    upload = os.path.relpath(source.root / "uploads" / "S01" / "dummy")
    assert cli.invoke(["dummy-run", "trial", upload, "--site", "S01"]) == 0
    assert "dummy run accepted" in capsys.readouterr().out


def gate_of(trial, site, capsys):
    capsys.readouterr()
    cli.invoke(["status", str(trial.root), "--json"])
    return {s["code"]: s["gate"] for s in json.loads(capsys.readouterr().out)["sites"]}[site]


def test_a_dummy_run_that_cannot_be_read_leaves_an_open_gate_open(copy, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no DICOM")
    assert cli.invoke(["dummy-run", str(copy.root), str(tmp_path / "texts"), "--site", "S01"]) == 3
    assert gate_of(copy, "S01", capsys) == "accepted"
    assert cli.invoke(["dummy-run", str(copy.root), str(copy.root), "--site", "S01"]) == 2
    assert "expected an upload outside of the trial folder" in capsys.readouterr().err


def test_a_visit_has_one_scan_until_it_is_replaced_for_a_reason(copy, source, tmp_path, capsys):
    (first, other) = [u for u in source.uploads if u.subject == "S01-001"][:2]
    arguments = ["--site", "S01", "--subject", first.subject, "--visit", first.visit]
    assert cli.invoke(["ingest", str(copy.root), str(source.path(first)), *arguments]) == 0
    assert cli.invoke(["ingest", str(copy.root), str(source.path(other)), *arguments]) == 2
    assert "--replace REASON" in capsys.readouterr().err
    replaced = ["ingest", str(copy.root), str(source.path(other)), *arguments, "--replace", "wrong visit sent"]
    assert cli.invoke(replaced) == 3  # its images are those of a later visit
    assert f"FLAIR of visit {other.visit}" in capsys.readouterr().err
    assert "received" not in visit_states(copy, capsys, first.visit)
    replaced[2] = str(source.path(first))  # the accepted scan itself: it and its results stay
    assert cli.invoke(replaced) == 0
    assert "received" not in visit_states(copy, capsys, first.visit)
    replaced[2] = str(scanned_again(source.path(first), tmp_path / "upload", weeks=0))
    assert cli.invoke(replaced) == 0
    assert "received" in visit_states(copy, capsys, first.visit)


def visit_states(trial, capsys, visit):
    capsys.readouterr()
    cli.invoke(["status", str(trial.root), "--json"])
    return [subject["visits"][visit] for subject in json.loads(capsys.readouterr().out)["subjects"]]


def test_tables_are_refused_when_the_rules_have_changed_since_the_analysis(copy, capsys):
    text = copy.protocol_file.read_text()
    copy.protocol_file.write_text(text.replace("[reading]", "[lesions]\nt2_min_volume_mm3 = 500.0\n\n[reading]"))
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 2
    assert re.search(
        r"subject \w+: the analysis was made by other lesion rules or another version "
        r"\(digest [0-9a-f]{12}, now [0-9a-f]{12}\)",
        capsys.readouterr().err,
    )


def test_a_run_that_fails_takes_no_locked_result_away(copy, tmp_path):
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    decide(worklist, lambda row: "accept")
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    assert cli.invoke(["read", str(copy.root), "--lock", "--reader", "R1"]) == 0
    assert cli.invoke(["tables", str(copy.root)]) == 0
    before = timepoints(copy)
    subject = before[0]["subject"]
    for path in copy.rawdata.anat(subject, "wk12").glob("*_FLAIR.nii.gz"):
        path.write_bytes(path.read_bytes()[:2000])
    assert cli.invoke(["run", str(copy.root), "--subject", subject]) == 4
    assert cli.invoke(["tables", str(copy.root)]) == 0
    assert timepoints(copy) == before


def test_a_replaced_scan_that_fails_has_no_numbers_of_the_old_one(copy, source, capsys):
    """Nor has the rest of its subject, which was compared with it; the other subject's numbers stay."""
    other = timepoints(copy)
    code = subject_codes(copy, source)["S01-001"]
    with Registry.open(copy, load_protocol(copy.protocol_file)) as registry:
        withdraw_scan(registry, code, "wk04", reason="another person's scan")
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 4
    assert f"sub-{code} FAILED, its rows have no numbers" in capsys.readouterr().err
    rows = timepoints(copy)
    assert {row["t2_count"] for row in rows if row["subject"] == code} == {""}
    assert [r for r in rows if r["subject"] != code] == [r for r in other if r["subject"] != code]


@pytest.mark.requirement("READ-04")
def test_a_visit_that_is_added_leaves_locked_reads_and_the_space_as_they_are(copy, source, tmp_path, capsys):
    """Two visits analysed, read and locked; the third is brought to their space and has a vote on their T2 lesions."""
    code = subject_codes(copy, source)["S01-001"]
    (third,) = [u for u in source.uploads if (u.subject, u.visit) == ("S01-001", "wk12")]
    with Registry.open(copy, load_protocol(copy.protocol_file)) as registry:
        withdraw_scan(registry, code, "wk12", reason="to be added again")
    shutil.rmtree(copy.rawdata.anat(code, "wk12").parent)
    assert cli.invoke(["run", str(copy.root), "--subject", code, "--plugin", "Linear"]) == 0
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    decide(worklist, lambda row: "reject" if (row["type"], row["lesion"]) == ("GEL", "1") else "accept")
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    assert cli.invoke(["read", str(copy.root), "--lock", "--reader", "R1"]) == 0
    assert cli.invoke(["tables", str(copy.root)]) == 0
    before = [r for r in timepoints(copy) if (r["subject"], r["read_status"]) == (code, "locked")]
    lesions = [r for r in read_table(copy.tables / "lesions.csv") if r["subject"] == code]
    folders = [copy.derivatives.anat(code, visit) for visit in ("wk00", "wk04")]

    def contents(*patterns):
        return {
            p: sha256(p.read_bytes()).hexdigest() for f in folders for pattern in patterns for p in f.glob(pattern)
        }

    of_the_space = ("*_xfm.txt", "*_desc-preproc_T?w.nii.gz", "*_desc-brain_mask.nii.gz")

    def qualities():
        return load_result(copy.derivatives.result(code)).quality

    space, quality = contents(*of_the_space), qualities()
    assert len(space) == 2 * (4 + 3 + 1)
    assert len(before) == 2

    arguments = ["--site", third.site, "--subject", third.subject, "--visit", third.visit]
    entries = set(copy.quarantine.iterdir())
    assert cli.invoke(["ingest", str(copy.root), str(source.path(third)), *arguments]) == 3  # it was withdrawn
    (entry,) = set(copy.quarantine.iterdir()) - entries
    decision = ["--reason", "it was withdrawn by mistake", "--by", "data manager", "--subject", third.subject]
    assert cli.invoke(["quarantine", "release", str(copy.root), entry.name, *decision]) == 0
    assert cli.invoke(["run", str(copy.root), "--subject", code, "--plugin", "Linear"]) == 0
    assert cli.invoke(["tables", str(copy.root)]) == 0
    rows = [r for r in timepoints(copy) if r["subject"] == code]
    assert [r for r in rows if r["visit"] != "wk12"] == before
    now = [r for r in read_table(copy.tables / "lesions.csv") if r["subject"] == code]
    assert [r for r in now if r["visit"] != "wk12"] == lesions
    assert contents(*of_the_space) == space
    assert [one.brain_covered for one in qualities()][:2] == [one.brain_covered for one in quality]
    images = contents("*.nii.gz", "*.tsv")
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 0
    (added,) = [r for r in timepoints(copy) if (r["subject"], r["visit"]) == (code, "wk12")]
    assert (added["scan_status"], added["reference_visit"], added["read_status"]) == (
        "analysed",
        "wk04",
        "automatic",
    )
    assert added["new_t2_count"] != ""
    shutil.rmtree(copy.derivatives.root)  # the space lies with the reads: the analysis can be made again
    assert cli.invoke(["run", str(copy.root), "--subject", code, "--plugin", "Linear"]) == 0
    assert contents("*.nii.gz", "*.tsv") == images


def scanned_again(upload, folder, *, weeks, change=lambda dataset: None):
    """The same head scanned again after some weeks: other dates, UIDs and pixels, and what `change` changes."""
    if upload.is_dir():
        shutil.copytree(upload, folder)
    else:
        shutil.unpack_archive(upload, folder)
    for path in filter(Path.is_file, folder.rglob("*")):
        dataset = pydicom.dcmread(path)
        for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            if dataset.get(name):
                day = dt.datetime.strptime(dataset[name].value, "%Y%m%d").replace(tzinfo=dt.UTC)
                setattr(dataset, name, f"{day + dt.timedelta(weeks=weeks):%Y%m%d}")
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if name in dataset:
                setattr(dataset, name, generate_uid(entropy_srcs=[str(dataset[name].value)]))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        pixels = dataset.pixel_array
        dataset.PixelData = (pixels + (pixels > 0)).astype(pixels.dtype).tobytes()
        change(dataset)
        dataset.save_as(path)
    return folder


def slower_flair(dataset):
    """A repetition time of the FLAIR that is 30 % longer."""
    if float(dataset.get("InversionTime") or 0) > 1500:
        dataset.RepetitionTime = float(dataset.RepetitionTime) * 1.3


def another_scanner(dataset):
    """Another scanner with other software."""
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "77001", "9.9"


@pytest.mark.parametrize(
    ("change", "queries"),
    [
        (
            slower_flair,
            [
                "FLAIR: expected the protocol of visit wk00, found another repetition time (11700 instead of 9000 ms)"
            ],
        ),
        (
            another_scanner,
            [
                "expected the scanner of visit wk00, found another serial number",
                (
                    "expected the scanner software of visit wk00, found another software version "
                    "(9.9 instead of 27 LX MR Software release:DV25.0_R02_1549.b)"
                ),
            ],
        ),
    ],
)
@pytest.mark.requirement("INTAKE-09")
def test_another_scanner_or_protocol_than_at_the_other_visits_is_a_query(
    copy, source, tmp_path, capsys, change, queries
):
    """For the visit that S01-002 missed."""
    (upload,) = [u for u in source.uploads if (u.subject, u.visit) == ("S01-002", "wk00")]
    sent = scanned_again(source.path(upload), tmp_path / "upload", weeks=4, change=change)
    arguments = ["--site", upload.site, "--subject", upload.subject, "--visit", "wk04"]
    assert cli.invoke(["ingest", str(copy.root), str(sent), *arguments, "--json"]) == 0
    received = json.loads(capsys.readouterr().out)
    assert received["queries"] == queries
    with Registry.open(copy, load_protocol(copy.protocol_file)) as registry:
        findings = {v.visit: list(v.findings) for v in registry.subject(received["subject"]).visits}
    assert findings["wk04"] == received["queries"]


def test_a_mistyped_number_on_a_refused_upload_leaves_no_subject_behind(copy, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no DICOM")
    keys = {path: path.read_bytes() for path in copy.sealed.iterdir()}
    arguments = ["--site", "S01", "--subject", "S01-999", "--visit", "wk00"]
    assert cli.invoke(["ingest", str(copy.root), str(tmp_path / "texts"), *arguments]) == 3
    assert {path: path.read_bytes() for path in copy.sealed.iterdir()} == keys
    capsys.readouterr()
    assert cli.invoke(["status", str(copy.root), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["subjects"]) == 2


def test_a_trial_that_lost_its_registry_gets_no_empty_one(copy, capsys):
    copy.registry_file.unlink()
    for command in (["status"], ["run"], ["tables", "--provisional"]):
        assert cli.invoke([command[0], str(copy.root), *command[1:]]) == 2
        assert "expected the registry of this trial, which has data, found none" in capsys.readouterr().err
    assert not copy.registry_file.exists()


def test_locks_hold_in_files_and_registry_or_in_neither(copy, tmp_path, monkeypatch, capsys):
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    decide(worklist, lambda row: "accept")
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    lock = ["read", str(copy.root), "--lock", "--reader", "R1"]
    with monkeypatch.context() as patch:

        def broken(*_, **__):
            raise UsageError("expected a registry that can be written, found a full disk")

        patch.setattr(Registry, "lock_reads", broken)
        assert cli.invoke(lock) == 2
    with Registry.open(copy, load_protocol(copy.protocol_file)) as registry:
        reads = [visit.read for subject in registry.state().subjects for visit in subject.visits if visit.read]
    assert {status.value for status in reads} == {"confirmed"}
    assert len(reads) == len(list(copy.reads.glob("*/*/readers/R1/01/read.json"))) == 5
    assert cli.invoke(lock) == 0
    assert cli.invoke(["tables", str(copy.root)]) == 0


def test_one_subject_whose_reads_are_damaged_leaves_the_tables_of_the_others(copy, tmp_path, capsys):
    automatic = timepoints(copy)
    worklist = tmp_path / "worklist"
    assert cli.invoke(["read", str(copy.root), "--export", str(worklist)]) == 0
    decide(worklist, lambda row: "accept")
    assert cli.invoke(["read", str(copy.root), "--import", str(worklist), "--reader", "R1"]) == 0
    bad = automatic[0]["subject"]
    (copy.reads / bad / "wk00" / "readers" / "R1" / "01" / "t2_lesions.nii.gz").write_bytes(b"")
    capsys.readouterr()
    assert cli.invoke(["tables", str(copy.root), "--provisional"]) == 4
    assert f"sub-{bad} FAILED, its rows have no numbers: subject {bad}, visit wk00" in capsys.readouterr().err
    rows = timepoints(copy)
    assert len(rows) == len(automatic)
    assert {(r["scan_status"], r["t2_count"]) for r in rows if r["subject"] == bad} <= {
        ("failed", ""),
        ("missing", ""),
    }
    good = [r | {"read_status": ""} for r in rows if r["subject"] != bad]
    assert good == [r | {"read_status": ""} for r in automatic if r["subject"] != bad]


def test_what_was_found_out_about_scans_reaches_sidecars_result_and_report(trial):
    for row in timepoints(trial):
        if row["scan_status"] != "analysed":
            continue
        subject, visit = row["subject"], row["visit"]
        result = load_result(trial.derivatives.result(subject))
        (quality,) = [q for q in result.quality if q.visit == visit]
        assert (quality.failure, quality.skull_stripped, quality.brain_covered) == ("", False, 1.0)
        assert {r.contrast for r in quality.registrations} == set(trial.rawdata.scans(subject, visit))
        for record in quality.registrations:
            image = trial.derivatives.image(subject, visit, record.contrast)
            sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
            transform = trial.derivatives.transform(subject, visit, record.contrast).with_suffix(".json")
            assert sidecar["SkullStripped"] is False
            assert sidecar["Registration"] == json.loads(transform.read_text())["Registration"]
            assert sidecar["Registration"]["Quality"] == record.quality
        html = (trial.reports / f"sub-{subject}.html").read_text()
        assert "Scans and their registration" in html


@pytest.fixture
def reference(trial, source, tmp_path):
    return Reference(ReferenceRun(source, trial, subject_codes(trial, source)), tmp_path, nprocs=2)


@pytest.mark.requirement("RUN-01", "RUN-02", "RUN-03", "AUDIT-01", "AUDIT-02", "AUDIT-03", "AUDIT-04", "AUDIT-05")
def test_the_reference_trial_passes_the_operational_qualification(reference):
    """Every check of `qualify` but the limits of the truth: gate, kill and resume, reads, release, each attack."""
    findings = list(check_reference(reference, say=lambda _line: None))
    limits = {limit.expected for limit in load_limits()}
    assert len(findings) == len(OQ_REFERENCE) + len(OQ_LOCKED)
    assert [one for one in findings if not one.passed and one.expected not in limits] == []
    assert list(reference.scratch.iterdir()) == []


@pytest.mark.requirement("LESION-02", "LESION-03", "LESION-04", "LESION-05", "LESION-06", "LESION-07", "LESION-08")
def test_the_reference_trial_is_within_the_documented_accuracy(reference):
    checks = limit_checks()
    assert len(checks) == 12
    assert [one for one in (check(reference) for check in checks) if not one.passed] == []
