"""Alignment of the visits of a subject: the largest matching group is used; a failed visit does not affect others."""

import gzip
from itertools import combinations

import numpy as np
import pytest

from mri_pipeline.analysis.space import keep_space, load_record, make_record
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import AnalysisError, UsageError
from mri_pipeline.core.io import itk
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.records import RegistrationRecord
from mri_pipeline.core.spatial import Affine
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.register import RegisterSettings
from qc.registration import RegistrationVerdict, judge, qc_flags
from tests.unit.subject_jobs import subject_job
from workflows.alignment import rounds as alignment_rounds
from workflows.alignment import selection as alignment
from workflows.alignment.records import ScanRegistration, VisitAlignmentRecord
from workflows.alignment.selection import align
from workflows.plugin import Plugin
from workflows.visit import match_record_file, visit_record_file


def shift(x_mm):
    matrix = np.eye(4)
    matrix[0, 3] = x_mm
    return Affine(matrix)


class Rounds:
    """Registrations whose outcome is known: `strangers` are pairs that do not match, `broken` have no brain."""

    def __init__(self, strangers=(), broken=(), bad_contrasts=(), copies=()):
        self.copies = set(copies)
        self.strangers, self.broken, self.bad = {frozenset(p) for p in strangers}, set(broken), set(bad_contrasts)
        self.alignment_records, self.faults, self.matches, self.stars = {}, {}, {}, []

    def __call__(self, job, plugin, nprocs):
        self.job, self.folder = job, job.work / "alignment_records"
        return self

    def match(self, name, failed):
        path = itk.save_transform(shift(1.0), self.folder / f"{name}.txt")
        quality = 0.1 if failed else 0.9
        return ScanRegistration(
            moving_to_fixed=path, scan_digest=name, quality=quality, method="gauss-newton", failed=failed
        )

    def star(self, labels, reference, *, free=()):
        self.stars.append((reference, [x for x in labels if x != reference and x not in free]))
        for visit in self.job.visits:
            if visit.visit in self.broken:
                self.faults[visit.visit] = "expected a brain, found a pumpkin"
            elif visit.visit in labels:
                others = [c for c in visit.scans if c is not Contrast.FLAIR]
                self.alignment_records[visit.visit] = VisitAlignmentRecord(
                    brain=self.folder / "brain.nii",
                    template_to_flair=self.folder / "template.txt",
                    skull_stripped=False,
                    brain_quality=0.9,
                    scan_digest="copy" if visit.visit in self.copies else visit.visit,
                    scans={c: self.match(f"{visit.visit}{c}", (visit.visit, c) in self.bad) for c in others},
                )
        if reference in self.broken:
            return []
        found = [reference]
        for label in self.stars[-1][1]:
            if label not in self.broken:
                failed = frozenset((label, reference)) in self.strangers
                self.matches[label] = reference, self.match(f"{label}-{reference}", failed)
                found += [] if failed else [label]
        return found


@pytest.fixture
def request_of(tmp_path):
    def make(*labels, **more):
        scans = {}
        for label in labels:
            scans[label] = {c: tmp_path / f"{label}_{c.value}.nii.gz" for c in (Contrast.FLAIR, Contrast.T1W_GD)}
            for path in scans[label].values():
                path.write_text(path.name)
        return subject_job(tmp_path, scans, **more)

    return make


@pytest.fixture
def aligned(monkeypatch):
    def run(job, **rounds):
        fake = Rounds(**rounds)
        monkeypatch.setattr(alignment, "RegistrationRounds", fake)
        monkeypatch.setattr(alignment.nifti, "form_difference_mm", lambda path: 3.0 * ("odd" in path.name))
        return align(job, plugin=Plugin.LINEAR, nprocs=1), fake

    return run


def of(found):
    return [v.visit for v in found.visits], {q.visit: q.failure for q in found.failed}


def test_visits_that_match_are_held_against_the_first_alone(request_of, aligned):
    found, rounds = aligned(request_of("a", "b", "c"))
    assert of(found) == (["a", "b", "c"], {})
    assert rounds.stars == [("a", ["b", "c"])]
    assert [v.flair_to_reference is None for v in found.visits] == [True, False, False]
    assert [v.flair_record.reference for v in found.visits] == ["", "a", "a"]


@pytest.mark.parametrize("stranger", ["a", "b", "c", "d"])
def test_one_stranger_fails_wherever_it_stands(request_of, aligned, stranger):
    labels = ["a", "b", "c", "d"]
    pairs = [pair for pair in combinations(labels, 2) if stranger in pair]
    found, _ = aligned(request_of(*labels), strangers=pairs)
    visits, failed = of(found)
    assert visits == [label for label in labels if label != stranger]
    assert list(failed) == [stranger]
    assert "match" in failed[stranger]
    reference, *others = found.visits
    assert reference.flair_to_reference is None  # also where it was held against the stranger before, in vain
    assert judge(reference.flair_record) is RegistrationVerdict.REFERENCE
    assert all(v.flair_to_reference is not None for v in others)


def test_of_two_visits_that_do_not_match_the_earlier_stays(request_of, aligned):
    found, _ = aligned(request_of("a", "b"), strangers=[("a", "b")])
    assert of(found)[0] == ["a"]
    (quality,) = found.failed
    assert quality.failure == "FLAIR does not match that of a (quality 0.10); check for another subject"
    assert [(r.contrast, r.failed) for r in quality.registrations] == [
        (Contrast.FLAIR, True), (Contrast.T1W_GD, False),
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_visit_without_brain_fails_with_its_reason(request_of, aligned, broken):
    found, _ = aligned(request_of("a", "b", "c"), broken=[broken])
    assert of(found) == (
        [label for label in "abc" if label != broken],
        {broken: "expected a brain, found a pumpkin"},
    )


def test_a_visit_without_brain_fails_even_if_its_flair_matches(monkeypatch, request_of):
    job = request_of("wk00", "wk04")
    fake = Rounds()(job, None, 1)

    def run(_workflow, **_more):
        fake.star(["wk00", "wk04"], "wk00")
        for file, note in (
            (visit_record_file(fake.folder, "wk00"), fake.alignment_records["wk00"]),
            (match_record_file(fake.folder, "wk04", "wk00"), fake.matches["wk04"][1]),
        ):
            file.write_text(note.model_dump_json())
        return ["alignment_wf.visit_wk04_wf.brain"]

    rounds = alignment_rounds.RegistrationRounds(job, Plugin.LINEAR, 1)
    fake.folder = rounds.folder
    monkeypatch.setattr(alignment_rounds, "run_workflow", run)
    assert rounds.star(["wk00", "wk04"], "wk00") == ["wk00"]
    assert set(rounds.faults) == {"wk04"}


def test_no_visit_at_all_is_an_error(request_of, aligned):
    with pytest.raises(AnalysisError, match="a: expected a brain, found a pumpkin"):
        aligned(request_of("a", "b"), broken=["a", "b"])


def test_what_counts_already_is_never_taken_away(request_of, aligned):
    with pytest.raises(AnalysisError, match="b: expected a brain"):
        aligned(request_of("a", "b", settled=("a", "b")), broken=["b"])
    assert of(aligned(request_of("a", "b", settled=("a",)), broken=["b"])[0])[0] == ["a"]


@pytest.mark.requirement("IMAGE-01")
def test_a_contrast_that_cannot_be_registered_is_excluded_with_a_qc_flag(request_of, aligned):
    job = request_of("a", "b")
    found, _ = aligned(job, bad_contrasts=[("b", Contrast.T1W_GD)])
    assert [set(v.scans.scans) for v in found.visits] == [{Contrast.FLAIR, Contrast.T1W_GD}, {Contrast.FLAIR}]
    assert Contrast.T1W_GD not in found.visits[1].to_flair
    told = [qc_flags(quality) for quality in found.quality_of(job.visits)]
    alone, left_out = told
    assert len(alone) == 1
    assert "post-contrast T1 alone" in alone[0]  # neither visit has a T1 before contrast
    assert left_out == ["ce-gadolinium_T1w excluded: registration to the FLAIR failed (quality 0.10)"]


@pytest.mark.parametrize("contrast", [Contrast.FLAIR, Contrast.T2W])
def test_what_is_barely_taken_is_looked_at(contrast):
    taken = RegisterSettings().min_quality
    sure = METHOD.registration_flags.sure
    verdicts = [judge(RegistrationRecord(contrast, "a", q, "", failed=False)) for q in (taken, sure - 0.01, sure)]
    assert verdicts == [RegistrationVerdict.DOUBTFUL, RegistrationVerdict.DOUBTFUL, RegistrationVerdict.GOOD]


def kept(tmp_path, job, ways):
    """A space with the visits of a job, as an analysis leaves it."""
    space = SpaceFiles(tmp_path / "derived", job.subject)
    space.folder.mkdir(exist_ok=True)
    for path in [*space.of_all_visits(), space.whole_brain]:
        path.write_text(path.name)
    for visit, way in ways.items():
        itk.save_transform(way, space.flair_to_subject(visit))
    flairs = {v.visit: v.scans[Contrast.FLAIR] for v in job.visits if v.visit in ways}
    records = [RegistrationRecord(Contrast.FLAIR, "", None, "", failed=False) for _ in flairs]
    space.record.write_text(make_record(records, flairs, None).model_dump_json())
    return space


def test_in_a_kept_space_old_visits_stay_and_new_ones_come_to_them(tmp_path, request_of, aligned):
    space = kept(tmp_path, request_of("b", "c"), {"b": shift(-5.0), "c": shift(5.0)})
    job = request_of("a", "b", "c", "d", kept_space=space.folder)
    found, rounds = aligned(job, strangers=[("d", "b")])
    assert rounds.stars == [("b", ["a", "d"])]
    assert of(found)[0] == ["a", "b", "c"]
    ways = {v.visit: v.flair_to_subject for v in found.visits}
    assert ways["b"] == space.flair_to_subject("b")
    assert ways["c"] == space.flair_to_subject("c")
    assert itk.load_transform(ways["a"]).matrix[0, 3] == pytest.approx(-4.0)  # 1 mm to b, and b's -5 mm
    record = found.space_record()
    assert record.made_from == ("b", "c")
    assert [v.visit for v in record.visits] == ["a", "b", "c"]


def test_a_replaced_scan_has_no_place_in_a_kept_space(tmp_path, request_of, aligned):
    space = kept(tmp_path, request_of("a", "b"), {"a": shift(-5.0), "b": shift(5.0)})
    job = request_of("a", "b", kept_space=space.folder)
    job.visits[0].scans[Contrast.FLAIR].write_text("another scan")
    found, rounds = aligned(job)
    assert rounds.stars == [("b", ["a"])]  # registered anew, to the one that is still what it was
    assert found.space is not None
    for visit in job.visits:
        visit.scans[Contrast.FLAIR].write_text("another scan")
    found, _ = aligned(job)
    assert found.space is None  # nothing of the old space is left: a new one is made


def test_a_kept_space_that_is_damaged_is_refused(tmp_path, request_of, aligned):
    space = kept(tmp_path, request_of("a"), {"a": shift(0.0)})
    job = request_of("a", kept_space=space.folder)
    space.flair_to_subject("a").unlink()
    with pytest.raises(
        UsageError, match="expected its space of format 1 and complete, found format 1, 1 of 8 files missing"
    ):
        aligned(job)
    space.record.write_text("{")
    with pytest.raises(UsageError, match="expected its space, found a damaged record"):
        aligned(job)


def test_keeping_a_space_adds_visits_and_deletes_nothing(tmp_path, request_of):
    job = request_of("a", "b")
    reads = SpaceFiles(tmp_path / "reads" / "_space", job.subject)
    keep_space(kept(tmp_path, job, {"a": shift(1.0)}), reads)
    first = {path.name: path.read_bytes() for path in reads.folder.iterdir()}
    keep_space(kept(tmp_path, job, {"a": shift(1.0), "b": shift(2.0)}), reads)
    assert [v.visit for v in load_record(reads).visits] == ["a", "b"]
    assert all((reads.folder / name).read_bytes() == first[name] for name in first if not name.endswith(".json"))
    assert reads.whole_brain.name in first
    recompressed = kept(tmp_path, job, {"a": shift(1.0), "b": shift(2.0)})
    for folder, level in ((recompressed.folder, 9), (reads.folder, 1)):
        SpaceFiles(folder, job.subject).brain.write_bytes(gzip.compress(b"the same grid" * 99, level))
    keep_space(recompressed, reads)
    assert [p.name for p in reads.folder.parent.iterdir()] == ["_space"]
    another = kept(tmp_path, job, {"a": shift(1.0)})
    another.brain.write_text("another grid")
    another.whole_brain.unlink()  # by version 0.3.0
    keep_space(another, reads)
    assert not reads.whole_brain.exists()
    assert reads.brain.read_text() == "another grid"
    assert sorted(p.name for p in reads.folder.parent.iterdir()) == ["_space", "_space_01"]
    with pytest.raises(UsageError, match="expected its space, found none"):
        keep_space(SpaceFiles(tmp_path / "none", job.subject), reads)


def test_copies_of_a_flair_and_contradicting_headers_are_flagged(request_of, aligned):
    found, _ = aligned(request_of("a", "b", "odd"), copies=("a", "b"))
    notes = {visit.visit: visit.quality.note for visit in found.visits}
    assert notes["a"] == "FLAIR: the same voxels as at b; was the right scan uploaded?"
    assert notes["b"] == "FLAIR: the same voxels as at a; was the right scan uploaded?"
    assert notes["odd"].startswith("FLAIR: qform and sform differ by up to 3.0 mm; the sform is used")


def test_a_visit_whose_flair_is_a_broken_link_fails_alone(request_of, aligned):
    job = request_of("a", "b")
    job.visits[0].scans[Contrast.FLAIR].unlink()
    visits, failures = of(aligned(job)[0])
    assert visits == ["b"]
    assert failures == {"a": "its FLAIR file is missing: a link without its target (datalad get?)"}
