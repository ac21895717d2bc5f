"""Selection of the visits and contrasts of a subject that can be analysed together.

The first workflow of a subject registers its scans and records the quality. The records decide which visits and
contrasts the second workflow analyses. A contrast is excluded if its registration to the FLAIR failed. A visit fails if
its FLAIR matches no other visit. Both trigger a QC flag in the result and in the report. The other visits are not
affected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mri_pipeline.analysis.space import SpaceRecord, load_record, make_record
from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.records import RegistrationRecord, VisitQuality
from mri_pipeline.core.visits import Contrast
from qc.registration import brain_qc_flag, duplicate_qc_flag, forms_qc_flag
from workflows.alignment.rounds import RegistrationRounds
from workflows.plugin import Plugin


@dataclass(frozen=True)
class AlignedVisit:
    """A visit that takes part in the analysis.

    Parameters
    ----------
    scans : VisitScans
        Scans, without contrasts whose registration failed.
    brain, template_to_flair : Path
        Brain mask of its FLAIR, and transform from the template to its FLAIR.
    to_flair : mapping of Contrast to Path
        Transforms of the other contrasts.
    flair_to_reference : Path or None
        Transform to the reference visit's FLAIR; None for the reference, and in a kept space.
    flair_to_subject : Path or None
        Transform to the kept space; None if a new space is computed.
    quality : VisitQuality
    """

    scans: VisitScans
    brain: Path
    template_to_flair: Path
    to_flair: Mapping[Contrast, Path]
    flair_to_reference: Path | None
    flair_to_subject: Path | None
    quality: VisitQuality

    @property
    def visit(self) -> str:
        """Label of the visit."""
        return self.scans.visit

    @property
    def flair_record(self) -> RegistrationRecord:
        """Registration record of its FLAIR."""
        return next(r for r in self.quality.registrations if r.contrast is Contrast.FLAIR)


@dataclass(frozen=True)
class Alignment:
    """Visits that are analysed together, and visits that failed.

    Parameters
    ----------
    visits : tuple of AlignedVisit
        In the order of time.
    failed : tuple of VisitQuality
        Each with its failure.
    space : (SpaceFiles, SpaceRecord) or None
        Kept space of the visits, with its record; None if a new midpoint space is computed.
    """

    visits: tuple[AlignedVisit, ...]
    failed: tuple[VisitQuality, ...]
    space: tuple[SpaceFiles, SpaceRecord] | None = None

    @property
    def scans(self) -> tuple[VisitScans, ...]:
        """The analysed visits with their usable scans."""
        return tuple(visit.scans for visit in self.visits)

    def quality_of(self, visits: Sequence[VisitScans]) -> list[VisitQuality]:
        """Scan quality of visits, analysed or failed.

        Parameters
        ----------
        visits : sequence of VisitScans
            Visits of the job.

        Returns
        -------
        list of VisitQuality
            In the order of `visits`.
        """
        known = {quality.visit: quality for quality in (*(v.quality for v in self.visits), *self.failed)}
        return [known[visit.visit] for visit in visits]

    def space_record(self) -> SpaceRecord:
        """Record of the space after this analysis.

        Returns
        -------
        SpaceRecord
        """
        return make_record(
            [visit.flair_record for visit in self.visits],
            {visit.visit: visit.scans.scans[Contrast.FLAIR] for visit in self.visits},
            kept=self.space[1] if self.space is not None else None,
        )


def align(job: SubjectJob, *, plugin: Plugin, nprocs: int) -> Alignment:
    """Register all scans of a subject and select those that can be analysed together.

    Visits are registered to the earliest visit. Visits that do not match it are registered to the earliest of
    themselves, and so on. The largest group is analysed; of two equal groups the earlier one. All other visits fail.
    In a kept space the group consists of the visits of that space. A further visit must match the earliest of them.

    Parameters
    ----------
    job : SubjectJob
    plugin : Plugin
    nprocs : int
        Number of processes for the visits.

    Returns
    -------
    Alignment
        With at least one visit.

    Raises
    ------
    AnalysisError
        If no visit can be used, or if a visit that has been analysed before cannot. Earlier results are not removed.
    """
    rounds = RegistrationRounds(job, plugin, nprocs)
    flairs = {visit.visit: visit.scans[Contrast.FLAIR] for visit in job.visits}
    for label in [label for label, path in flairs.items() if not path.is_file()]:
        rounds.faults[label] = "its FLAIR file is missing: a link without its target (datalad get?)"
        del flairs[label]
    space, known = None, {}
    if job.kept_space is not None:
        files = SpaceFiles(job.kept_space, job.subject)
        space = files, load_record(files)
        known = space[1].known(flairs)
    if known:
        reference = next(iter(known))
        matching = rounds.star(list(flairs), reference, free=set(known))
        group = [
            label
            for label in flairs
            if label in matching or (label in known and label in rounds.alignment_records)
        ]
    else:
        space = None
        group = _largest_group(rounds, list(flairs))
        reference = group[0] if group else ""
    alignment = _put_together(job, rounds, group, reference, space)
    alignment = _with_scan_flags(alignment, rounds)
    _require_usable(job, alignment)
    return alignment


def _largest_group(rounds: RegistrationRounds, labels: list[str]) -> list[str]:
    groups: list[list[str]] = []
    remaining = labels
    while remaining:
        # a single remaining visit has already been processed
        group = rounds.star(remaining, remaining[0]) if not groups or len(remaining) > 1 else remaining
        groups.append(group)
        remaining = [label for label in remaining[1:] if label not in group and label in rounds.alignment_records]
    return max(groups, key=len, default=[])


def _require_usable(job: SubjectJob, alignment: Alignment) -> None:
    for quality in alignment.failed:
        if quality.visit in job.settled or not alignment.visits:
            raise AnalysisError(
                f"{quality.visit}: {quality.failure}",
                hint="restore its scan, or replace it with mri-pipeline ingest ... --replace REASON",
            )


def _put_together(
    job: SubjectJob,
    rounds: RegistrationRounds,
    group: list[str],
    reference: str,
    space: tuple[SpaceFiles, SpaceRecord] | None,
) -> Alignment:
    visits, failed = [], []
    for scans in job.visits:
        if scans.visit in group:
            visits.append(_aligned(scans, rounds, reference, space))
        else:
            failed.append(_failed(scans, rounds))
    return Alignment(tuple(visits), tuple(failed), space)


def _with_scan_flags(alignment: Alignment, rounds: RegistrationRounds) -> Alignment:
    """Flag visits whose FLAIR has the voxels of another visit's FLAIR, and scans whose header contradicts itself."""
    digests = {visit.visit: rounds.alignment_records[visit.visit].scan_digest for visit in alignment.visits}
    visits = []
    for visit in alignment.visits:
        copies = [label for label, digest in digests.items() if digest == digests[visit.visit]]
        copies.remove(visit.visit)
        forms = [forms_qc_flag(c, nifti.form_difference_mm(path)) for c, path in visit.scans.scans.items()]
        flags = (visit.quality.note, duplicate_qc_flag(copies), *forms)
        note = "; ".join(filter(None, flags))
        visits.append(replace(visit, quality=replace(visit.quality, note=note)))
    return replace(alignment, visits=tuple(visits))


def _failed(scans: VisitScans, rounds: RegistrationRounds) -> VisitQuality:
    visit = scans.visit
    if visit not in rounds.alignment_records:
        return VisitQuality(visit, rounds.faults.get(visit, "process terminated without output"), None, None, ())
    own = rounds.alignment_records[visit]
    records = [match.record(contrast, visit) for contrast, match in own.scans.items()]
    message = "FLAIR matches no other visit of the subject; check for another subject or for motion"
    if visit in rounds.matches:
        reference, match = rounds.matches[visit]
        records.insert(0, match.record(Contrast.FLAIR, reference))
        if match.failed:
            quality = f"quality {match.quality:.2f}"
            message = f"FLAIR does not match that of {reference} ({quality}); check for another subject"
    return VisitQuality(visit, message, own.skull_stripped, None, tuple(records))


def _aligned(
    scans: VisitScans, rounds: RegistrationRounds, reference: str, space: tuple[SpaceFiles, SpaceRecord] | None
) -> AlignedVisit:
    visit, own = scans.visit, rounds.alignment_records[scans.visit]
    usable = {contrast: match for contrast, match in own.scans.items() if not match.failed}
    # the reference of a later round has a failed registration from an earlier round
    match = rounds.matches[visit][1] if visit != reference and visit in rounds.matches else None
    record, to_subject = RegistrationRecord(Contrast.FLAIR, "", None, "", failed=False), None
    if match is not None:
        record = match.record(Contrast.FLAIR, reference)
    if space is not None:
        files, known = space[0], {v.visit: v for v in space[1].visits}
        if match is None:
            record, to_subject = known[visit].registration, files.flair_to_subject(visit)
        else:
            way = itk.load_transform(files.flair_to_subject(reference)) @ itk.load_transform(match.moving_to_fixed)
            to_subject = itk.save_transform(way, rounds.folder / f"{visit}_to_subject.txt")
    records = [record, *(match.record(contrast, visit) for contrast, match in own.scans.items())]
    present = {c: path for c, path in scans.scans.items() if c is Contrast.FLAIR or c in usable}
    return AlignedVisit(
        scans=scans.model_copy(update={"scans": present}),
        brain=own.brain,
        template_to_flair=own.template_to_flair,
        to_flair={contrast: match.moving_to_fixed for contrast, match in usable.items()},
        flair_to_reference=match.moving_to_fixed if match is not None and space is None else None,
        flair_to_subject=to_subject,
        quality=VisitQuality(
            visit, "", own.skull_stripped, None, tuple(records), brain_qc_flag(own.brain_quality)
        ),
    )
