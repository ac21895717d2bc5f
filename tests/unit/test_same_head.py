"""A visit shows the head of the subject's other visits."""

from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Grid, Image
from mri_pipeline.core.visits import Contrast
from qc.same_head import AGREEMENT, SAME_HEAD, HeadMatch, judge_head, match_head
from reading_centre.use_cases.uploads import visit_intake
from reading_centre.use_cases.uploads.quarantine import list_quarantine, release_upload
from tests.unit.ingest_trial import ingest, new_trial, opened, upload

TEST_IMAGES = Path(__file__).parents[2] / "test_images"
LIMIT = ChangeLimits().min_head_agreement


@pytest.mark.parametrize(("agreement", "action"), [(0.5, None), (0.79, None), (0.49, Action.QUERY)])
def test_the_limit_of_the_agreement(agreement, action):
    finding = judge_head(HeadMatch("wk00", agreement), LIMIT)
    assert (finding.rule, finding.action, finding.measured) == (SAME_HEAD, action, agreement)
    assert (
        f"expected the head of visit wk00 with an agreement of at least 0.5, found {agreement}" in finding.message
    )
    assert finding.contrast is Contrast.FLAIR


def test_the_same_head_in_another_position_agrees():
    flair = load_image(TEST_IMAGES / "sub-phantom_ses-wk04_FLAIR.nii.gz")
    affine = flair.grid.affine.copy()
    affine[:3, 3] += (6.0, -4.0, 3.0)
    moved = Image((0.7 * flair.data).astype(np.float32), Grid(flair.grid.shape, affine))
    assert match_head(moved, flair, "wk00").agreement > 0.9


def test_a_mirrored_head_is_a_query_that_says_so():
    flair = load_image(TEST_IMAGES / "sub-phantom_ses-wk04_FLAIR.nii.gz").reoriented("RAS")
    affine = flair.grid.affine.copy()
    affine[:3, 3] += (6.0, -4.0, 3.0)
    mirrored = Image(np.ascontiguousarray(flair.data[::-1]), Grid(flair.grid.shape, affine))
    match = match_head(mirrored, flair, "wk00")
    assert match.mirrored is not None
    assert match.agreement < 0.7 < match.mirrored
    finding = judge_head(match, LIMIT)
    assert (finding.rule, finding.action) == (SAME_HEAD, Action.QUERY)
    assert "expected left and right as at visit wk00" in finding.message


@pytest.mark.parametrize(
    ("agreement", "mirrored", "action", "text"),
    [
        (
            0.55,
            0.9,
            Action.QUERY,
            "of the mirrored image (0.90 instead of 0.55): one of the two visits may be mirrored",
        ),
        (0.3, 0.42, Action.QUERY, "found 0.30: one of the two visits may show another head"),
        (0.6, 0.5, None, "found 0.60"),
        (0.9, None, None, "found 0.90"),
    ],
)
def test_a_better_agreement_of_the_mirror_image_decides(agreement, mirrored, action, text):
    finding = judge_head(HeadMatch("wk00", agreement, mirrored), LIMIT)
    mirrored_one = "mirrored" in text
    assert finding.action is action
    assert (finding.measured, finding.limit) == ((None, None) if mirrored_one else (agreement, LIMIT.value))
    assert ("left and right" in finding.to_do) is mirrored_one
    assert finding.message.endswith(text)


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """A trial with an accepted visit; all objects pass as heads."""
    record = {"FLAIR": {"placement.similarity": 0.9}}
    monkeypatch.setattr(visit_intake, "measure_record", lambda measures: record)
    monkeypatch.setattr("qc.decision.judge_images", lambda measures, protocol: [])
    trial = new_trial(tmp_path / "trial")
    ingest(trial, upload(tmp_path / "up0"), "wk00")
    return trial


def agreeing(monkeypatch, agreement):
    compared = []

    def match(flair, other, visit):
        compared.append((visit, flair.grid.shape, other.grid.shape))
        return HeadMatch(visit, agreement)

    monkeypatch.setattr(visit_intake, "match_head", match)
    return compared


def test_another_head_at_a_later_visit_is_a_query(trial, tmp_path, monkeypatch):
    agreeing(monkeypatch, 0.3)
    (query,) = [q for q in ingest(trial, upload(tmp_path / "up", day=28), "wk04").queries if "head of visit" in q]
    assert "found 0.30: one of the two visits may show another head" in query


def test_another_head_is_refused_by_the_setting_and_may_be_released(trial, tmp_path, monkeypatch):
    text = trial.protocol_file.read_text()
    query = 'min_head_agreement = { value = 0.5, action = "query"'
    assert query in text
    trial.protocol_file.write_text(text.replace(query, query.replace("query", "refuse")))
    compared = agreeing(monkeypatch, 0.3)
    with pytest.raises(ComplianceError, match=r"expected the head of visit wk00 .* found 0\.30: one of the two"):
        ingest(trial, upload(tmp_path / "up", day=28), "wk04")
    assert [visit for visit, *_ in compared] == ["wk00"]
    assert compared[0][1] == compared[0][2]
    (entry,) = list_quarantine(trial.root)
    released = release_upload(trial.root, entry.name, reason="surgery", by="QC 1", subject="0001")
    assert any("found 0.30: one of the two visits" in text for text in released.queries)
    with opened(trial) as registry:
        assert registry.differences_from_audit() == []


def test_the_nearest_other_visit_is_compared(trial, tmp_path, monkeypatch):
    compared = agreeing(monkeypatch, 0.9)
    for number, visit in ((84, "wk12"), (28, "wk04"), (168, "wk24")):
        assert not [q for q in ingest(trial, upload(tmp_path / visit, day=number), visit).queries if "head" in q]
    assert [visit for visit, *_ in compared] == ["wk00", "wk00", "wk12"]


def test_an_agreement_within_the_limit_is_stored(trial, tmp_path, monkeypatch):
    agreeing(monkeypatch, 0.876)
    result = ingest(trial, upload(tmp_path / "up", day=28), "wk04")
    assert not [text for text in (*result.queries, *result.notes) if "head of" in text or "same head" in text]
    with opened(trial) as registry:
        values = {one.visit: one.values["FLAIR"].get(AGREEMENT) for one in registry.measures.all()}
        (entry,) = [e for e in registry.audit_trail() if "same_head" in e.details]
    assert values == {"wk00": None, "wk04": 0.876}
    assert entry.target.endswith("wk04")
    assert entry.details["same_head"] == (
        "FLAIR: expected the head of visit wk00 with an agreement of at least 0.5, found 0.88"
    )


def test_without_a_brain_no_head_is_compared(trial, tmp_path, monkeypatch):
    compared = agreeing(monkeypatch, 0.1)
    monkeypatch.setattr(visit_intake, "measure_record", lambda measures: {"FLAIR": {"content.coherence": 0.5}})
    result = ingest(trial, upload(tmp_path / "up", day=28), "wk04")
    assert "FLAIR: no brain was found: same head not checked" in result.notes
    assert compared == []


def test_a_head_is_compared_whatever_its_similarity_to_the_template(trial, tmp_path, monkeypatch):
    compared = agreeing(monkeypatch, 0.9)
    record = {"FLAIR": {"placement.similarity": 0.1}}
    monkeypatch.setattr(visit_intake, "measure_record", lambda measures: record)
    ingest(trial, upload(tmp_path / "up", day=28), "wk04")
    assert [visit for visit, *_ in compared] == ["wk00"]


def flair_of(trial, visit):
    with opened(trial) as registry:
        (code,) = registry.subjects()
    return trial.rawdata.image(code, visit, Contrast.FLAIR)


def test_a_damaged_image_of_another_visit_does_not_block_the_visit(trial, tmp_path, monkeypatch):
    compared = agreeing(monkeypatch, 0.9)
    file = flair_of(trial, "wk00")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = ingest(trial, upload(tmp_path / "up", day=28), "wk04")
    assert "FLAIR: the FLAIR of visit wk00 cannot be read: same head not checked" in result.notes
    assert compared == []


def test_the_nearest_other_visit_with_a_flair_is_compared(trial, tmp_path, monkeypatch):
    compared = agreeing(monkeypatch, 0.9)
    ingest(trial, upload(tmp_path / "wk04", day=28), "wk04")
    flair_of(trial, "wk04").unlink()
    ingest(trial, upload(tmp_path / "wk12", day=84), "wk12")
    flair_of(trial, "wk00").unlink()
    flair_of(trial, "wk12").unlink()
    result = ingest(trial, upload(tmp_path / "wk24", day=168), "wk24")
    assert [visit for visit, *_ in compared] == ["wk00", "wk00"]
    assert "FLAIR: the other visits have no FLAIR: same head not checked" in result.notes
