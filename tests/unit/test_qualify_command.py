"""``mri-pipeline qualify``: cases, report, signature, audit entry and exit codes."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from mri_pipeline.core.errors import ExternalToolError, ImageError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Grid, LabelImage
from mri_pipeline.lesions.scoring.scores import score_masks
from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.registry.audit import utc_now
from qc.reports.qualification import (
    Line,
    QualificationReport,
    QualificationSignature,
    RequirementResult,
    Stage,
    Status,
    qualification_html,
    qualification_json,
)
from reading_centre import cli
from reading_centre.qualification import cases
from reading_centre.qualification.checks import CheckFinding
from reading_centre.qualification.requirements import load_requirements
from reading_centre.use_cases import qualify
from reading_centre.use_cases.trial.audit_verify import verify_trial
from tests.unit.html_page import Page
from tests.unit.locked_trial import behind_the_trail, registry_of

PASSWORD = "a long password of QA"
ACCOUNTS = f"""
[[accounts]]
code = "QA"
name = "Dr Quality"
role = "data manager"
password_hash = "{password_hash(PASSWORD)}"

[[accounts]]
code = "NOBODY"
role = "auditor"

[[accounts]]
code = "SITE1"
role = "site"
site = "S01"
password_hash = "{password_hash(PASSWORD)}"

[[accounts]]
code = "ONCE"
role = "data manager"
one_time_password_hash = "{utc_now()} {password_hash(PASSWORD)}"
"""
GRID = Grid((8, 8, 8), np.eye(4))


# --- cases -----------------------------------------------------------------------------------------------------


def write_cases(folder, *rows, columns=cases.COLUMNS):
    for name in ("flair.nii.gz", "mask.nii.gz"):
        (folder / name).write_bytes(b"")
    path = folder / "cases.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


CASE = {"case": "A", "flair": "flair.nii.gz", "reference": "mask.nii.gz", "min_dice": "0.6"}


def test_cases_are_read_with_their_limits(tmp_path):
    path = write_cases(tmp_path, CASE, CASE | {"case": "B", "min_dice": "", "max_volume_error_percent": "12,5"})
    first, second = cases.read_cases(path)
    assert (first.images, first.reference) == ({"flair": tmp_path / "flair.nii.gz"}, tmp_path / "mask.nii.gz")
    assert (first.limits, second.limits) == ({"min_dice": 0.6}, {"max_volume_error_percent": 12.5})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected rows below the header, found no row"),
        ([CASE, CASE], r"line 3, column case: expected every case once, found A again"),
        ([CASE | {"case": ""}], "line 2: expected case, found an empty cell"),
        ([CASE | {"flair": "", "reference": ""}], "line 2: expected flair and reference, found an empty cell"),
        ([CASE | {"min_dice": ""}], "line 2: expected at least one limit, found none"),
        ([CASE | {"t1": "none.nii.gz"}], "line 2, column t1: expected a file, found none"),
        ([CASE | {"min_dice": "1.2"}], "column min_dice: expected a number from 0 to 1, found 1.2"),
        ([CASE | {"min_dice": "x"}], "column min_dice: expected a number from 0 to 1, found 1 character$"),
        ([CASE | {"min_dice": "high"}], "column min_dice: expected a number from 0 to 1, found 4 characters"),
        ([CASE | {"min_lesion_f1": "nan"}], "column min_lesion_f1: expected a number from 0 to 1"),
        (
            [CASE | {"max_volume_error_percent": "-1"}],
            "column max_volume_error_percent: expected a number from 0,",
        ),
        ([CASE | {"max_volume_error_percent": "inf"}], "column max_volume_error_percent: expected a number"),
    ],
)
def test_wrong_cases_are_refused_before_the_work(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        cases.read_cases(write_cases(tmp_path, *rows))


def test_a_file_without_its_columns_is_refused(tmp_path):
    with pytest.raises(UsageError, match="min_lesion_f1"):
        cases.read_cases(write_cases(tmp_path, CASE, columns=cases.COLUMNS[:-1]))


def box(*ranges):
    data = np.zeros(GRID.shape, dtype=np.uint8)
    data[tuple(slice(*r) for r in ranges)] = 1
    return LabelImage(data, GRID)


@pytest.mark.requirement("PQ-01", "PQ-02", "PQ-03")
@pytest.mark.parametrize(
    ("limits", "passed"),
    [
        ({"min_dice": 0.66}, True),
        ({"min_dice": 0.67}, False),
        ({"max_volume_error_percent": 100}, True),
        ({"max_volume_error_percent": 99.9}, False),
        ({"min_lesion_f1": 1.0}, True),
    ],
)
def test_scores_are_compared_with_the_limits_of_the_case(tmp_path, limits, passed):
    """The prediction is the reference and its equal neighbour: Dice 2/3, twice the volume."""
    scores = score_masks(box((1, 5), (1, 3), (1, 3)), box((1, 3), (1, 3), (1, 3)))
    (one,) = cases.findings_of(cases.ReferenceCase("A", {}, tmp_path, limits), scores)
    ids = {"min_dice": "PQ-01", "max_volume_error_percent": "PQ-02", "min_lesion_f1": "PQ-03"}
    assert (one.requirement, one.passed) == (ids[next(iter(limits))], passed)


@pytest.mark.requirement("PQ-01", "PQ-02", "PQ-03")
def test_a_lesion_that_is_missed_and_an_empty_mask_fail(tmp_path):
    case = cases.ReferenceCase(
        "A", {}, tmp_path, {"min_dice": 0.0, "max_volume_error_percent": 500, "min_lesion_f1": 0.1}
    )
    missed = list(cases.findings_of(case, score_masks(box((5, 7), (5, 7), (5, 7)), box((1, 3), (1, 3), (1, 3)))))
    assert [one.passed for one in missed] == [True, True, False]
    empty = box((0, 0), (0, 0), (0, 0))
    assert not any(one.passed for one in cases.findings_of(case, score_masks(empty, empty)))
    assert [one.requirement for one in cases.not_done(case, "no head")] == ["PQ-01", "PQ-02", "PQ-03"]
    assert not any(one.passed for one in cases.not_done(case, "no head"))


@pytest.mark.requirement("PQ-01")
def test_a_case_is_segmented_by_the_rules_of_the_trial(tmp_path, monkeypatch):
    reference = tmp_path / "mask.nii.gz"
    nifti.save(box((1, 3), (1, 3), (1, 3)), reference)
    rules = LesionRules(t2_min_volume_mm3=20)

    def segment(*, flair, t1, t1_gd, t2, brain_mask, out, rules):
        assert (flair, t1, t1_gd, t2) == ("f", None, "g", None)
        assert (brain_mask, rules.t2_min_volume_mm3) == (None, 20)
        nifti.save(box((1, 3), (1, 3), (1, 3)), out / "t2_lesions.nii.gz")

    monkeypatch.setattr(cases, "segment_files", segment)
    case = cases.ReferenceCase("A", {"flair": "f", "t1_gd": "g"}, reference, {"min_dice": 0.9})
    (one,) = cases.check_case(case, tmp_path / "work", rules)
    assert one == CheckFinding("PQ-01", "A: Dice of at least 0.9", "Dice 1.000", passed=True)


# --- the report ------------------------------------------------------------------------------------------------


def result(requirement="IQ-01", *passed, tests=()):
    lines = tuple(Line(f"expected {n}", f"found <{n}>", one) for n, one in enumerate(passed))
    return RequirementResult(requirement, "It works & lasts.", "21 CFR 11.10(a)", lines, tests)


def report_of(*results):
    times = ("2026-01-01T00:00:00+00:00", "2026-01-01T00:05:00+00:00")
    return QualificationReport("mesems", "1.0", "ab12", *times, {"python": "3.11"}, results)


SIGNED = QualificationSignature(
    "QA", "Dr Quality", "data manager", "2026-01-01T00:06:00+00:00", "I agree", "c0", "a0"
)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([result("IQ-01", True), result("READ-02", tests=("a",))], Status.PASSED),
        ([result("IQ-01", True), result("OQ-01", True, False)], Status.FAILED),
        ([result("IQ-01", True), result("PQ-01", tests=("a",))], Status.NOT_DONE),
        ([result("IQ-01", False), result("PQ-01")], Status.FAILED),
        ([result("READ-02")], Status.NOT_DONE),
    ],
)
def test_a_report_has_passed_only_if_nothing_failed_and_nothing_was_left_out(results, verdict):
    assert report_of(*results).verdict is verdict


def test_the_page_says_what_was_expected_and_found_and_whether_it_is_signed():
    report = report_of(result("IQ-01", True, False, tests=("unit/test_a.py::test_b",)), result("PQ-01"))
    html = qualification_html(report, None)
    page = Page(html)
    assert ["IQ-01", "expected 1", "found <1>"] in page.rows
    assert ["expected 0", "found <0>", "passed"] in page.rows
    assert ["expected 1", "found <1>", "failed"] in page.rows
    assert ["Installation (IQ)", "1", "0", "1", "0", "0"] in page.rows
    assert "Not signed." in html
    assert report.digest in html
    assert "Failed: at least one requirement is not met." in html
    assert "unit/test_a.py::test_b" in html
    assert "script" not in page.tags
    assert set(page.links) == {"#IQ-01"}
    signed = qualification_html(report, SIGNED)
    assert "Not signed" not in signed
    for part in ("Dr Quality (QA, data manager)", "2026-01-01T00:06:00", "I agree"):
        assert part in signed


def test_the_digest_is_that_of_the_content_and_changes_with_each_part():
    report = report_of(result("IQ-01", True))
    record = json.loads(qualification_json(report, SIGNED))
    assert record["content_sha256"] == report.digest
    content = {name: value for name, value in record.items() if name not in {"content_sha256", "signature"}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))  # as docs/outputs.md says it
    assert hashlib.sha256(text.encode()).hexdigest() == report.digest
    assert record["signature"]["name"] == "Dr Quality"
    assert (record["verdict"], record["results"][0]["status"]) == ("passed", "passed")
    others = [replace(report, trial="x"), replace(report, ended="x"), report_of(result("IQ-01", False))]
    assert len({report.digest, *(other.digest for other in others)}) == 4
    assert [one.stage for one in report.results] == [Stage.INSTALLATION]


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def trial(locked_trial, monkeypatch):
    """All checks of the operation pass, and so does the installation, which the tests do not qualify."""
    with locked_trial.protocol_file.open("a") as stream:
        stream.write(ACCOUNTS)
    registry_of(locked_trial).close()  # enters the settings
    software = [
        CheckFinding(one.requirement, one.expected, "as expected", passed=True) for one in qualify.IQ_SOFTWARE
    ]
    operation = [
        CheckFinding(one.requirement, one.expected, "as expected", passed=True)
        for one in (*qualify.OQ_REFERENCE, *qualify.OQ_LOCKED)
    ]
    monkeypatch.setattr(qualify, "IQ_SOFTWARE", [lambda _installation, one=one: one for one in software])
    monkeypatch.setattr(qualify, "_operation", lambda _scratch, _nprocs, _say: iter(operation))
    monkeypatch.setattr(qualify, "_run", lambda checks, subject: (one(subject) for one in checks))
    return locked_trial


@pytest.fixture
def own_cases(tmp_path, monkeypatch):
    passed = [CheckFinding(f"PQ-0{n}", "A: limit", "met", passed=True) for n in (1, 2, 3)]
    monkeypatch.setattr(qualify, "check_case", lambda _case, _work, _rules: passed)
    return write_cases(tmp_path, CASE)


def reports_of(trial):
    return sorted(trial.reports.glob("qualification_*"))


def last_entry(trial, action="qualification written"):
    with registry_of(trial) as registry:
        return registry.audit_entries(action)[-1]


def test_without_cases_the_qualification_is_not_complete(trial, capsys):
    assert cli.invoke(["qualify", str(trial.root)]) == 4
    printed = capsys.readouterr()
    assert "qualification: not done, not signed" in printed.out
    assert "IQ   installation" in printed.err
    page, record = (path.suffix for path in reports_of(trial))
    assert (page, record) == (".html", ".json")
    assert last_entry(trial).details["verdict"] == "not done"
    assert not [path for path in trial.work.iterdir() if path.is_dir()]
    assert verify_trial(trial.root).deviations == ()


def test_all_passed_is_exit_code_0_and_every_requirement_is_listed(trial, own_cases, capsys):
    assert cli.invoke(["qualify", str(trial.root), "--cases", str(own_cases), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], printed["signed"]) == ("passed", False)
    assert set(printed["requirements"]) == {one.id for one in load_requirements()}
    assert set(printed["requirements"].values()) == {"passed", "by tests"}


def test_a_failed_check_is_exit_code_4_and_named(trial, own_cases, monkeypatch, capsys):
    monkeypatch.setattr(qualify, "check_case", lambda *_: (_ for _ in ()).throw(ImageError("expected a head")))
    assert cli.invoke(["qualify", str(trial.root), "--cases", str(own_cases)]) == 4
    out = capsys.readouterr().out
    assert "PQ-01 FAILED: expected A: Dice of at least 0.6, found expected a head" in out
    assert "qualification: failed, not signed" in out
    assert last_entry(trial).details["failed"] == ["PQ-01"]


@pytest.mark.requirement("READ-03", "AUDIT-08")
def test_a_signature_has_name_time_meaning_and_content_and_a_later_change_is_found(
    trial, own_cases, monkeypatch, capsys
):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert cli.invoke(["qualify", str(trial.root), "--cases", str(own_cases), "--by", "qa"]) == 0
    printed = capsys.readouterr()
    assert "Qualification of mesems: passed. Report: " in printed.err
    assert qualify.MEANING in printed.err
    assert "qualification: passed, signed" in printed.out
    page, path = reports_of(trial)
    record, entry = json.loads(path.read_text()), last_entry(trial)
    signature = record["signature"]
    assert (signature["code"], signature["name"], signature["role"]) == ("QA", "Dr Quality", "data manager")
    assert (signature["meaning"], signature["content"]) == (qualify.MEANING, record["content_sha256"])
    assert signature["at"].endswith("+00:00")
    assert "Dr Quality (QA, data manager)" in page.read_text()
    assert entry.reader == "QA"
    assert entry.details["content"] == record["content_sha256"]
    assert entry.details["signature"] == {part: signature[part] for part in ("name", "at", "meaning", "account")}
    assert PASSWORD not in f"{record}{entry}"
    assert verify_trial(trial.root).deviations == ()
    for changed in (page, path):
        content = changed.read_bytes()
        changed.write_bytes(content.replace(b"passed", b"failed", 1))
        (deviation,) = verify_trial(trial.root).deviations
        assert deviation == (
            f"reports/{changed.name}: expected the qualification report of the audit trail, found it changed"
        )
        changed.unlink()
        assert verify_trial(trial.root).deviations[0].endswith(", found none")
        changed.write_bytes(content)


@pytest.mark.requirement("READ-03")
def test_a_wrong_password_leaves_a_report_that_is_not_signed(trial, own_cases, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("another password\n"))
    assert cli.invoke(["qualify", str(trial.root), "--cases", str(own_cases), "--by", "QA"]) == 2
    err = capsys.readouterr().err
    assert "error: expected the password of data manager QA, found a wrong password" in err
    assert "Hint:  the report is not signed: " in err
    page, path = reports_of(trial)
    assert "Not signed." in page.read_text()
    assert json.loads(path.read_text())["signature"] is None
    assert last_entry(trial).reader == ""
    assert last_entry(trial, "signature refused").reader == "QA"
    assert verify_trial(trial.root).deviations == ()


def test_an_interrupt_at_the_question_leaves_no_report(trial):
    def interrupted(_statement):
        assert len(reports_of(trial)) == 2  # it can be read before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qualify.qualify_trial(trial.root, by="QA", say=lambda _line: None, password=interrupted)
    assert reports_of(trial) == []


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("NOBODY", "none of this code"),
        ("X", "none of this code"),
        ("SITE1", "a person of a site"),
        ("ONCE", "a one-time password"),
    ],
)
def test_a_person_without_account_or_of_a_site_is_refused_before_the_work(trial, capsys, by, found):
    assert cli.invoke(["qualify", str(trial.root), "--by", by]) == 2
    assert f"found {found}" in capsys.readouterr().err
    assert reports_of(trial) == []


def test_wrong_use_is_refused_before_the_work(trial, tmp_path, monkeypatch):
    assert cli.invoke(["qualify", str(tmp_path / "none")]) == 2
    assert cli.invoke(["qualify", str(trial.root), "--cases", str(tmp_path / "none.csv")]) == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.invoke(["qualify", str(trial.root), "--pdf"]) == 2
    assert reports_of(trial) == []


def test_the_pdf_is_part_of_the_record(trial, monkeypatch):
    monkeypatch.setattr(qualify, "chromium", lambda: "chromium")

    def write_pdf(page):
        page.with_suffix(".pdf").write_bytes(b"%PDF")
        return page.with_suffix(".pdf")

    monkeypatch.setattr(qualify, "write_pdf", write_pdf)
    assert cli.invoke(["qualify", str(trial.root), "--pdf"]) == 4
    assert [path.suffix for path in reports_of(trial)] == [".html", ".json", ".pdf"]
    assert len(last_entry(trial).details["files"]) == 3


def test_a_pdf_that_fails_does_not_lose_the_report(trial, monkeypatch, capsys):
    def write_pdf(_page):
        raise ExternalToolError("expected a PDF by Chromium, found none (exit code 1)")

    monkeypatch.setattr(qualify, "chromium", lambda: "chromium")
    monkeypatch.setattr(qualify, "write_pdf", write_pdf)
    assert cli.invoke(["qualify", str(trial.root), "--pdf"]) == 1
    assert "Hint:  the report is not signed: " in capsys.readouterr().err
    assert len(last_entry(trial).details["files"]) == len(reports_of(trial)) == 2
    assert verify_trial(trial.root).deviations == ()


def test_two_qualifications_have_two_reports(trial):
    assert cli.invoke(["qualify", str(trial.root)]) == cli.invoke(["qualify", str(trial.root)]) == 4
    assert len(reports_of(trial)) == 4
    assert verify_trial(trial.root).deviations == ()


@pytest.mark.requirement("AUDIT-08")
def test_a_broken_trail_fails_its_requirement_and_is_not_signed_away(trial, capsys):
    behind_the_trail(trial, "UPDATE audit SET os_user = 'x' WHERE seq = 3")
    assert cli.invoke(["qualify", str(trial.root)]) == 4
    assert (
        "IQ-12 FAILED: expected no deviation from the audit trail, found expected an unbroken"
        in capsys.readouterr().out
    )


def test_what_cannot_be_reached_has_failed(tmp_path, monkeypatch):
    def broken(_folder, *, say):
        raise UsageError("expected a scanner, found none")

    monkeypatch.setattr(qualify, "simulate", broken)
    findings = list(qualify._operation(tmp_path, 1, lambda _line: None))
    assert {one.found for one in findings} == {"not reached: expected a scanner, found none"}
    assert len(findings) == len(qualify.OQ_REFERENCE) + len(qualify.OQ_LOCKED)
    assert not any(one.passed for one in findings)


def test_reads_that_cannot_be_made_have_failed(monkeypatch):
    def broken(_reference):
        raise ZeroDivisionError

    monkeypatch.setattr(qualify, "OQ_REFERENCE", ())
    monkeypatch.setattr(qualify, "read_everything", broken)
    findings = list(qualify.check_reference(None, say=lambda _line: None))
    assert {one.found for one in findings} == {"not reached: ended in ZeroDivisionError"}
    assert len(findings) == len(qualify.OQ_LOCKED)
