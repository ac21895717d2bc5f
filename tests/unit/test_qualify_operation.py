"""Operational qualification: each check passes on a sound reference trial, and fails on each fault."""

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.io.itk import save_transform
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.settings import parse_settings
from mri_pipeline.core.spatial import Affine
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.trial import ReferenceTrial, Upload, UploadKind, made_up_patient
from mri_pipeline.registry import ScannerFacts
from reading_centre.qualification import attacks, identities, interruption, limits, reading, reference_checks
from reading_centre.qualification.limits import Limit
from reading_centre.qualification.reading import Read
from reading_centre.qualification.reference import Reference
from reading_centre.use_cases.demo import ReferenceRun
from reading_centre.use_cases.trial.init import init_trial
from tests.unit.locked_trial import registry_of
from workflows.outcome import BatchOutcome, Outcome

CODES = {"S01-001": "BCDF2345", "S01-002": "GHJK6789"}
VISITS = ("wk00", "wk04", "wk12")
UPLOADS = (
    Upload(UploadKind.DUMMY_RUN, "S01", "uploads/S01/dummy"),
    Upload(UploadKind.DUMMY_RUN, "S02", "uploads/S02/dummy", accepted=False, reason="1.0 T"),
    *(
        Upload(UploadKind.VISIT, "S01", f"uploads/S01/{number}/{visit}", number, visit)
        for number in CODES
        for visit in VISITS
        if (number, visit) != ("S01-002", "wk04")
    ),
)
MEASURED = (
    "gel_count", "gel_new_count", "gel_re_enhancing_count", "gel_persistent_count", "gel_volume_ml", "t2_count",
    "t2_volume_ml", "new_t2_count", "enlarging_t2_count", "bh_count", "bh_volume_ml", "combined_unique_active_count",
)  # fmt: skip
COMPARING = tuple(
    name for name in MEASURED if name.startswith(("gel_new", "gel_re", "gel_per", "new", "enl", "comb"))
)


def row_of(name, number, visit):
    row = {
        "subject": name,
        "visit": visit,
        "week": visit[-1],
        "scan_status": "analysed",
        "read_status": "automatic",
    }
    row["reference_visit"] = "" if visit == "wk00" else "wk00"
    row |= {column: "1.5" if column.endswith("_ml") else "3" for column in MEASURED}
    if visit == "wk00":
        row |= dict.fromkeys(COMPARING, "")
    if (number, visit) == ("S01-002", "wk04"):
        row |= dict.fromkeys(("read_status", "reference_visit", *MEASURED), "") | {"scan_status": "missing"}
    return row


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def made(tmp_path):
    """A reference trial whose tables are its truth."""
    source = ReferenceTrial(tmp_path / "source", "demo", 1, UPLOADS)
    trial = init_trial(tmp_path / "trial", "demo")
    keys = [(number, visit) for number in CODES for visit in VISITS]
    write_rows(source.truth / "lesion_timepoints.csv", [row_of(number, number, visit) for number, visit in keys])
    write_rows(
        trial.tables / "lesion_timepoints.csv", [row_of(CODES[number], number, visit) for number, visit in keys]
    )
    with registry_of(trial) as registry:
        registry.record_dummy_run("S02", accepted=False, upload_digest="d2")
    (source.root / "uploads" / "S02" / "dummy").mkdir(parents=True)
    (source.root / "uploads" / "S02" / "dummy" / "1.dcm").write_bytes(b"weak")
    kept = trial.quarantine / "20260101-ab"
    (kept / "upload").mkdir(parents=True)
    (kept / "upload" / "1.dcm").write_bytes(b"weak")
    reason = "FLAIR: expected a field strength of at least 1.5 T, found 1 T"
    (kept / "reason.json").write_text(json.dumps({"reason": reason}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Reference(ReferenceRun(source, trial, CODES), scratch)


def change(made, column, value, visit="wk12"):
    rows = made.timepoints()
    for row in rows:
        if (row["subject"], row["visit"]) == ("BCDF2345", visit):
            row[column] = value
    write_rows(made.trial.tables / "lesion_timepoints.csv", rows)


LIMITS = {
    one.column: (limit, one)
    for one, limit in zip(limits.load_limits(), reference_checks.limit_checks(), strict=True)
}


def test_the_limits_are_those_of_the_documented_accuracy():
    text = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
    section = text[text.index("### Digital reference trial") : text.index("### Simulated subjects")]
    for worst, column in (
        ("T2 volume", "t2_volume_ml"),
        ("GEL volume", "gel_volume_ml"),
        ("black-hole volume", "bh_volume_ml"),
    ):
        (line,) = [line for line in section.splitlines() if line.startswith(f"| {worst}, worst error")]
        documented = float(line.split("|")[2].strip(" %"))
        limit = LIMITS[column][1]
        assert limit.source == f"worst error {documented:g} %"
        assert documented < limit.max_error_percent < 2 * documented
    assert "| visits with exact GEL count | 25 of 25 |" in section
    exact = {name for name, (_, limit) in LIMITS.items() if limit.max_difference == 0}
    assert exact == {name for name in MEASURED if name.endswith("count")} - {"t2_count"}


@pytest.mark.requirement("LESION-02", "LESION-03", "LESION-04", "LESION-05", "LESION-06", "LESION-07", "LESION-08")
@pytest.mark.parametrize("column", MEASURED)
def test_each_limit_passes_at_the_truth_and_fails_beyond_it(made, column):
    one, limit = LIMITS[column]
    assert one(made).passed
    assert one(made).requirement == limit.requirement
    allowed = limit.max_difference if limit.max_error_percent is None else 1.5 * limit.max_error_percent / 100
    truth = 3 if limit.max_error_percent is None else 1.5
    step = 1 if limit.max_error_percent is None else 0.01
    for value, passed in (
        (truth + allowed - (0 if step == 1 else 0.01), True),
        (truth + allowed + step, False),
        (truth - allowed - step, False),
    ):
        change(made, column, f"{value:g}")
        assert one(made).passed is passed, value
    change(made, column, "")
    assert "inf" in one(made).found
    write_rows(made.trial.tables / "lesion_timepoints.csv", made.timepoints()[:-1])
    assert one(made).found == "other rows than those of the truth"
    (made.trial.tables / "lesion_timepoints.csv").unlink()
    assert not one(made).passed


def test_a_volume_where_there_is_none_is_infinitely_wrong():
    limit = Limit(requirement="A-01", column="c", max_error_percent=10, source="s")
    assert limit.error("0.0", "0.0000") == 0
    assert limit.error("0.1", "0") == float("inf")
    with pytest.raises(SettingsError, match="one of max_difference and max_error_percent"):
        parse_settings(Limit, 'requirement = "A-01"\ncolumn = "c"\nsource = "s"', source="limits.toml", hint="")


@pytest.mark.requirement("INTAKE-01")
def test_a_weak_scanner_that_was_accepted_fails(made):
    assert reference_checks.field_strength(made).passed
    (reason,) = made.trial.quarantine.glob("*/reason.json")
    reason.write_text(json.dumps({"reason": "blurred"}))
    assert reference_checks.field_strength(made).found == "blurred"
    with registry_of(made.trial) as registry:
        registry.record_dummy_run("S02", accepted=True, upload_digest="d3")
    assert not reference_checks.field_strength(made).passed


@pytest.mark.requirement("INTAKE-02")
def test_a_visit_that_passes_a_closed_gate_fails(made, monkeypatch):
    monkeypatch.setattr(reference_checks, "receive_visit", lambda *_args, **_kwargs: None)
    one = reference_checks.gate(made)
    assert (one.passed, one.found) == (False, "accepted")


@pytest.mark.requirement("INTAKE-03")
def test_a_file_that_is_missing_in_quarantine_fails(made):
    assert reference_checks.quarantine(made).passed
    next(made.trial.quarantine.glob("*/upload/1.dcm")).write_bytes(b"other")
    assert not reference_checks.quarantine(made).passed


@pytest.mark.requirement("INTAKE-04")
@pytest.mark.parametrize("form", ["%Y%m%d", "%Y-%m-%d"])
def test_an_identity_in_any_file_or_name_fails(made, form):
    assert identities.no_identity(made).passed
    patient = made_up_patient("S01-001", 1)
    planted = made.trial.reports / "x.html"
    for text in (
        patient.name.split("^")[0].upper(),
        patient.patient_id,
        f"{patient.birth_date:{form}}",
        "s01-002",
    ):
        planted.write_text(f"<p>{text}</p>")
        one = identities.no_identity(made)
        assert not one.passed
        assert text not in one.found
        assert one.found.endswith("identities in 1 reports")
    planted.unlink()
    (made.trial.work / f"{patient.patient_id}.log").write_text("")
    assert not identities.no_identity(made).passed
    (made.trial.work / f"{patient.patient_id}.log").unlink()
    (made.trial.sealed / "x").write_text("S01-001")
    assert identities.no_identity(made).passed


def write_transforms(made, shift=0.0):
    move = Affine([[1, 0, 0, shift], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for upload in UPLOADS[2:]:
        code = CODES[upload.subject]
        image = made.trial.rawdata.image(code, upload.visit, Contrast.FLAIR)
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"")
        truth = made.run.source.truth / upload.subject / f"{upload.visit}_from-subject_to-FLAIR.txt"
        truth.parent.mkdir(exist_ok=True)
        save_transform(Affine.identity(), truth)
        found = made.trial.derivatives.transform(code, upload.visit, Contrast.FLAIR)
        found.parent.mkdir(parents=True, exist_ok=True)
        save_transform(move if upload.visit == "wk12" else Affine.identity(), found)


@pytest.mark.requirement("IMAGE-01")
def test_a_wrong_or_missing_registration_fails(made):
    assert not reference_checks.registrations(made).passed  # nothing is registered
    write_transforms(made, 0.9)
    assert reference_checks.registrations(made).found == "5 scans, largest error 0.90 mm"
    assert reference_checks.registrations(made).passed
    write_transforms(made, 1.1)
    assert not reference_checks.registrations(made).passed
    write_transforms(made)
    made.trial.derivatives.transform("BCDF2345", "wk04", Contrast.FLAIR).unlink()
    assert reference_checks.registrations(made).found == "not registered: wk04 FLAIR"


@pytest.mark.requirement("TABLE-01")
def test_a_missing_visit_with_a_number_or_without_a_row_fails(made):
    assert reference_checks.missing_visit(made).passed
    rows = made.timepoints()
    missing = next(row for row in rows if row["scan_status"] == "missing")
    write_rows(made.trial.tables / "lesion_timepoints.csv", [row for row in rows if row is not missing])
    assert not reference_checks.missing_visit(made).passed
    missing["gel_count"] = "0"
    write_rows(made.trial.tables / "lesion_timepoints.csv", rows)
    assert reference_checks.missing_visit(made).found.endswith("1 missing, not empty")


@pytest.mark.requirement("TABLE-02")
@pytest.mark.parametrize(
    ("column", "value", "visit"),
    [("new_t2_count", "0", "wk00"), ("gel_count", "", "wk00"), ("gel_new_count", "", "wk12")],
)
def test_a_first_visit_with_a_comparison_fails(made, column, value, visit):
    assert reference_checks.first_visit(made).passed
    change(made, column, value, visit)
    assert reference_checks.first_visit(made).found == f"BCDF2345 {visit}"


@pytest.mark.requirement("TABLE-05")
def test_final_tables_before_a_read_fail(made, monkeypatch):
    monkeypatch.setattr(reference_checks, "write_trial_tables", lambda *_args, **_kwargs: None)
    assert (reference_checks.no_final_tables(made).passed, reference_checks.no_final_tables(made).found) == (
        False,
        "tables",
    )


def outcome(**more):
    return BatchOutcome(tuple(Outcome(subject=code, done=True, **more) for code in CODES.values()))


@pytest.mark.requirement("RUN-02")
def test_a_second_run_that_analyses_or_changes_something_fails(made, monkeypatch):
    monkeypatch.setattr(reference_checks, "run_trial", lambda *_args, **_kwargs: outcome(unchanged=True))
    monkeypatch.setattr(reference_checks, "write_trial_tables", lambda *_args, **_kwargs: None)
    assert reference_checks.second_run(made).passed
    monkeypatch.setattr(
        reference_checks, "write_trial_tables", lambda *_args, **_kwargs: change(made, "gel_count", "4")
    )
    assert "changed: tables/lesion_timepoints.csv" in reference_checks.second_run(made).found
    monkeypatch.setattr(reference_checks, "write_trial_tables", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(reference_checks, "run_trial", lambda *_args, **_kwargs: outcome())
    one = reference_checks.second_run(made)
    assert not one.passed
    assert "analysed again: BCDF2345, GHJK6789" in one.found


@pytest.mark.requirement("RUN-03")
@pytest.mark.parametrize("fault", ["deviations", "absent", "failed", "other_software"])
def test_results_that_differ_from_their_provenance_fail(made, monkeypatch, fault):
    sound = {
        "subjects": 2,
        "inputs": 9,
        "outputs": 9,
        "deviations": (),
        "absent": (),
        "failed": (),
        "other_software": {},
    }
    monkeypatch.setattr(reference_checks, "verify_results", lambda _root: SimpleNamespace(**sound))
    assert reference_checks.provenance(made).passed
    wrong = sound | {fault: {"numpy": "other"} if fault == "other_software" else ("sub-X",)}
    monkeypatch.setattr(reference_checks, "verify_results", lambda _root: SimpleNamespace(**wrong))
    assert not reference_checks.provenance(made).passed
    monkeypatch.setattr(
        reference_checks, "verify_results", lambda _root: SimpleNamespace(**sound | {"subjects": 1})
    )
    assert not reference_checks.provenance(made).passed


@dataclass
class Analysis:
    """Stands in for the analysis: files of a subject, and whether a kill reaches it."""

    made: Reference
    ends_before: int = 0
    resumed: bytes = b"result"
    started: int = 0

    def killed(self, folder, subject, moment):
        self.started += 1
        assert 1 <= moment <= (20, 8, 3)[self.started - 1]
        assert subject == "GHJK6789"  # two visits, the other has three
        assert not Trial(folder).derivatives.folder(subject).exists()
        return self.started > self.ends_before

    def run(self, folder, *, subjects, execution):
        (subject,) = subjects
        place = Trial(folder).derivatives.folder(subject)
        place.mkdir(exist_ok=True)
        (place / "mask").write_bytes(self.resumed)
        return BatchOutcome((Outcome(subject=subject, done=True),))


@pytest.mark.requirement("RUN-01")
@pytest.mark.parametrize(
    ("more", "passed", "found"),
    [
        ({}, True, "1 files, different: none"),
        ({"ends_before": 2}, True, "different: none"),
        ({"ends_before": 3}, False, "nothing was killed"),
        ({"resumed": b"other"}, False, "different: sub-GHJK6789/mask"),
    ],
)
def test_a_resumed_analysis_with_other_bytes_or_without_a_kill_fails(made, monkeypatch, more, passed, found):
    folder = made.trial.derivatives.folder("GHJK6789")
    folder.mkdir(parents=True)
    (folder / "mask").write_bytes(b"result")
    analysis = Analysis(made, **more)
    monkeypatch.setattr(interruption, "_killed", analysis.killed)
    monkeypatch.setattr(interruption, "run_trial", analysis.run)
    one = interruption.killed_and_resumed(made)
    assert one.passed is passed
    assert found in one.found
    assert (folder / "mask").read_bytes() == b"result"


@pytest.mark.requirement("RUN-01")
def test_a_kill_ends_the_process_and_says_whether_it_was_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "_command", lambda folder, subject: ["/bin/sleep", subject])
    assert interruption._killed(tmp_path, "60", 0.2)
    assert not interruption._killed(tmp_path, "0", 20)


# --- reads -----------------------------------------------------------------------------------------------------


def row_read(status="locked"):
    return row_of("BCDF2345", "S01-001", "wk12") | {"read_status": status}


@pytest.fixture
def read(made):
    return Read(made, [row_read("automatic")], [row_read()], "refused", "refused")


@pytest.mark.requirement("READ-01")
def test_other_counts_after_accepting_everything_fail(read):
    assert reading.confirmed_counts(read).passed
    wrong = replace(read, confirmed=[row_read() | {"gel_count": "9"}])
    assert reading.confirmed_counts(wrong).found == "1 visits, changed: BCDF2345 wk12"
    assert not reading.confirmed_counts(replace(read, confirmed=[])).passed


@pytest.mark.requirement("READ-03")
def test_a_missing_signature_or_refusal_fails(read, monkeypatch):
    signature = {"meaning": reading.MEANING, "at": "2026-01-01T00:00:00+00:00", "signed": "a" * 64}

    def entries(refused, *signed):
        found = {"signature refused": [None] * refused}
        found["read locked"] = [SimpleNamespace(details={"signature": one} if one else {}) for one in signed]
        monkeypatch.setattr(Read, "entries", lambda _self, action: found[action.value])
        return reading.signatures(read).passed

    assert entries(1, signature, signature)
    assert not entries(0, signature)
    assert not entries(1)
    assert not entries(1, signature, None)
    for part in signature:
        assert not entries(1, signature | {part: ""})


@pytest.mark.requirement("READ-04", "TABLE-05")
def test_an_import_into_locked_reads_and_open_reads_in_final_tables_fail(read):
    assert reading.locked_reads(read).passed
    assert reading.locked_reads(replace(read, second_import="")).found == "imported"
    assert reading.final_tables(read).passed
    assert not reading.final_tables(replace(read, confirmed=[row_read("confirmed")])).passed
    assert not reading.final_tables(replace(read, confirmed=[])).passed


@pytest.mark.requirement("BLIND-01")
@pytest.mark.parametrize("word", ["S01-001", "S01", "s02"])
def test_a_table_that_names_patient_or_site_fails(read, word):
    assert reading.blinded_tables(read).passed
    (read.reference.trial.tables / "nv.csv").write_text(f"a,{word}\n")
    assert reading.blinded_tables(read).found == "2 tables, identified: nv.csv"


@pytest.mark.requirement("BLIND-02")
def test_a_release_with_other_numbers_fails(read, monkeypatch):
    rows = [row_read() | {"subject": "S01-001", "site": "S01"}]

    def release(rows):
        def write(_folder, *, reason, out):
            assert reason == "qualification"
            write_rows(out / "lesion_timepoints.csv", rows)

        monkeypatch.setattr(reading, "release_trial_tables", write)
        entry = SimpleNamespace(details={"reason": "qualification"})
        monkeypatch.setattr(reading, "_entries", lambda _trial, _action: [entry])
        return reading.release(read).passed

    assert release(rows)
    assert not release([rows[0] | {"gel_count": "9"}])
    assert not release([rows[0] | {"subject": "S01-002"}])
    assert not release(rows * 2)
    monkeypatch.setattr(reading, "_entries", lambda _trial, _action: [])
    assert not reading.release(read).passed


# --- attacks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(locked_trial, tmp_path):
    """With a refused site, measures and two subjects."""
    scanner = ScannerFacts("Maker", "Model", "v1", 1.0, "ab" * 8)
    with registry_of(locked_trial) as registry:
        registry.record_dummy_run(
            "S02", accepted=False, upload_digest="d2", scanner=scanner, measures={"FLAIR": {"snr": 30.0}}
        )
    Sealed.open(locked_trial).code_for("S01", "0002")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = ReferenceRun(ReferenceTrial(tmp_path, "demo", 1, UPLOADS), locked_trial, {})
    return Read(Reference(run, scratch), [], [], "", "")


@pytest.mark.requirement("AUDIT-01", "AUDIT-02", "AUDIT-03", "AUDIT-04", "AUDIT-05", "AUDIT-08")
def test_every_attack_is_found_and_an_attack_that_is_not_found_fails(locked, monkeypatch):
    before = {path: path.read_bytes() for path in locked.reference.trial.root.rglob("*") if path.is_file()}
    assert [
        (one.expected, one.found) for one in (check(locked) for check in attacks.OQ_ATTACKS) if not one.passed
    ] == []
    after = {path: path.read_bytes() for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {
        "registry.sqlite-shm",
        "registry.sqlite-wal",
    }
    blind = SimpleNamespace(deviations=(), entries=1, last="")
    monkeypatch.setattr(attacks, "verify_trial", lambda *_args: blind)
    first, *others = (check(locked) for check in attacks.OQ_ATTACKS)
    assert first.passed  # untouched
    assert {one.found for one in others} == {"no deviation"}
    assert not any(one.passed for one in others)
    wrong = SimpleNamespace(deviations=("something else",), entries=1, last="")
    monkeypatch.setattr(attacks, "verify_trial", lambda *_args: wrong)
    assert not any(check(locked).passed for check in attacks.OQ_ATTACKS)


@pytest.mark.requirement("AUDIT-01")
def test_an_attack_that_changes_nothing_fails(locked):
    attack = attacks.Attack(
        "AUDIT-01", "x", attacks.partial(attacks._sql, "DELETE FROM scans WHERE visit = 'x'", "scan")
    )
    assert (
        attacks.Check("AUDIT-01", "x", attacks.partial(attacks._found, attack))(locked).found
        == "ended in LookupError"
    )


def test_a_copy_is_removed_and_leaves_the_trial_alone(made):
    with made.copy("tables") as trial:
        assert not list(trial.tables.iterdir())
        assert list(trial.quarantine.iterdir())
        shutil.rmtree(trial.root)
    assert not list(made.scratch.iterdir())
    assert list(made.trial.tables.iterdir())
