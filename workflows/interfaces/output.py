"""Interfaces that write: a visit's derivatives, a subject's numbers, a subject's report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, isdefined, traits

from mri_pipeline.analysis.calibration import joined
from mri_pipeline.analysis.derivatives import write_space, write_visit
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import DerivativeDataset, calibration_file
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.results import load_result, parse_quality, save_result
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import t2_segmenter
from mri_pipeline.core.visits import Contrast
from qc.registration import judge
from qc.reports.subject.files import write_report
from workflows.interfaces.base import (
    ContrastInputSpec,
    Step,
    TissueInputSpec,
    load_contrasts,
    load_if_given,
    load_tissue,
)


class _WriteVisitInputSpec(ContrastInputSpec):
    subject = traits.Str(mandatory=True, desc="blinded code")
    visit = traits.Str(mandatory=True, desc="label")
    derivatives = traits.Str(mandatory=True, desc="folder of the derivative dataset")
    brain = File(exists=True, mandatory=True, desc="brain mask")
    t2_probability = File(exists=True, mandatory=True, desc="T2 lesion probability")
    t2_lesions = File(exists=True, mandatory=True, desc="T2 lesion mask")
    gel = File(exists=True, desc="enhancing lesions")
    gel_probability = File(exists=True, desc="probability of each enhancing component")
    black_holes = File(exists=True, desc="black holes")
    t1_hypointensity = File(exists=True, desc="grade of T1 hypointensity")
    changes = traits.Dict(traits.Str(), File(exists=True), desc="change mask label to file")
    lesions = File(exists=True, mandatory=True, desc="numbered lesions")
    transforms = traits.Dict(traits.Str(), File(exists=True), mandatory=True, desc="contrast to transform")
    result = File(exists=True, mandatory=True, desc="counts and lesions of all visits")
    quality = traits.Str(mandatory=True, desc="quality of its scans, as JSON of results.quality_text")
    rules = traits.Str(mandatory=True, desc="lesion rules of the protocol, as JSON")
    sources = traits.Dict(traits.Str(), traits.Str(), desc="contrast to the path of its scan in the raw dataset")


class _WriteVisitOutputSpec(TraitedSpec):
    written = File(exists=True, desc="the file that was written last")


class WriteVisit(Step):
    """Write one visit's derivatives. The node always runs, because the dataset may have been moved or deleted."""

    _always_run = True
    input_spec = _WriteVisitInputSpec
    output_spec = _WriteVisitOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        single = {
            MaskLabel.T2_LESION: inputs.t2_lesions,
            MaskLabel.GEL: inputs.gel,
            MaskLabel.BLACK_HOLE: inputs.black_holes,
        }
        files = {label: file for label, file in single.items() if isdefined(file)}
        probabilities = {MaskLabel.T2_LESION: inputs.t2_probability}
        if isdefined(inputs.gel_probability):
            probabilities[MaskLabel.GEL] = inputs.gel_probability
        files |= {MaskLabel(label): file for label, file in (inputs.changes or {}).items()}
        result = load_result(Path(inputs.result))
        (quality,) = parse_quality(inputs.quality)
        self._results["written"] = str(
            write_visit(
                DerivativeDataset(Path(inputs.derivatives)),
                inputs.subject,
                inputs.visit,
                images=load_contrasts(inputs),
                brain=nifti.load_labels(inputs.brain),
                probabilities={label: nifti.load_map(file) for label, file in probabilities.items()},
                t1_hypointensity=load_if_given(inputs.t1_hypointensity),
                masks={label: nifti.load_labels(file) for label, file in files.items()},
                lesions=nifti.load_labels(inputs.lesions),
                records=[record for record in result.lesions if record.visit == inputs.visit],
                transforms={Contrast(name): Path(file) for name, file in inputs.transforms.items()},
                quality=quality,
                sources={Contrast(name): path for name, path in (inputs.sources or {}).items()},
                verdicts={record.contrast: judge(record).value for record in quality.registrations},
                t2_segmenter=t2_segmenter(LesionRules.model_validate_json(inputs.rules)),
            )
        )
        return runtime


class _WriteSubjectInputSpec(TissueInputSpec):
    subject = traits.Str(mandatory=True, desc="blinded code")
    derivatives = traits.Str(mandatory=True, desc="folder of the derivative dataset")
    visits = traits.List(traits.Str(), mandatory=True, desc="the analysed visits, in their order")
    result = File(exists=True, mandatory=True, desc="counts and lesions of all visits")
    quality = traits.Str(mandatory=True, desc="quality of all scans, as JSON of results.quality_text")
    scan_keys = traits.Dict(traits.Str(), traits.Str(), desc="visit to key of its scan in the registry")
    space_record = traits.Str(mandatory=True, desc="JSON of mri_pipeline.analysis.space.SpaceRecord")
    brain = File(exists=True, mandatory=True, desc="the subject's brain mask")
    whole_brain = File(
        exists=True, mandatory=True, desc="brain mask including regions that some visit has not scanned"
    )
    flairs_to_subject = traits.List(File(exists=True), mandatory=True, desc="transform of every visit's FLAIR")
    brain_covered = traits.List(traits.Float(), mandatory=True, desc="share of the brain that each FLAIR scanned")
    scans_qc_flags = traits.List(traits.Str(), mandatory=True, desc="QC flags of the scans of every visit")
    t2_qc_flags = traits.List(traits.Str(), mandatory=True, desc="QC flags of the T2 lesions of every visit")
    gel_qc_flags = traits.List(
        traits.Str(), mandatory=True, desc="QC flags of the post-contrast T1 of every visit"
    )
    visits_written = InputMultiObject(
        File(exists=True), mandatory=True, desc="last file of every visit's derivatives"
    )


class _WriteSubjectOutputSpec(TraitedSpec):
    result = File(exists=True, desc="the numbers in the derivative dataset")


class WriteSubject(Step):
    """Write the subject's numbers and space to the derivative dataset, after all its visits."""

    _always_run = True
    input_spec = _WriteSubjectInputSpec
    output_spec = _WriteSubjectOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        derivatives, subject = DerivativeDataset(Path(inputs.derivatives)), inputs.subject
        write_space(
            derivatives.space(subject),
            brain=nifti.load_labels(inputs.brain),
            whole_brain=nifti.load_labels(inputs.whole_brain),
            tissue=load_tissue(inputs),
            template_to_subject=Path(inputs.template_to_subject),
            flairs_to_subject=dict(zip(inputs.visits, map(Path, inputs.flairs_to_subject), strict=True)),
            record=inputs.space_record,
        )
        known = {visit.visit: visit for visit in parse_quality(inputs.quality)}
        flags_of = zip(inputs.scans_qc_flags, inputs.t2_qc_flags, inputs.gel_qc_flags, strict=True)
        for visit, covered, message in zip(inputs.visits, inputs.brain_covered, flags_of, strict=True):
            note = "; ".join(filter(None, (known[visit].note, *message)))
            known[visit] = replace(known[visit], brain_covered=round(covered, 4), note=note)
        quality = tuple(known.values())
        result = replace(load_result(Path(inputs.result)), quality=quality, scan_keys=dict(inputs.scan_keys or {}))
        self._results["result"] = str(save_result(result, derivatives.result(subject)))
        return runtime


class _WriteReportInputSpec(BaseInterfaceInputSpec):
    job = traits.Str(mandatory=True, desc="the subject's job, as JSON")
    result = File(exists=True, mandatory=True, desc="the numbers in the derivative dataset")
    calibrations = InputMultiObject(File(exists=True), desc="detection rates of every visit, as CSV")


class _WriteReportOutputSpec(TraitedSpec):
    report = File(exists=True, desc="HTML report")


class WriteReport(Step):
    """Write the subject's HTML report."""

    _always_run = True
    input_spec = _WriteReportInputSpec
    output_spec = _WriteReportOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        job = SubjectJob.model_validate_json(self.inputs.job)
        if isdefined(self.inputs.calibrations):
            rates = joined(Path(file).read_text(encoding="utf-8") for file in self.inputs.calibrations)
            write_atomic(calibration_file(job.reports, job.subject), rates)
        self._results["report"] = str(write_report(job, load_result(Path(self.inputs.result))))
        return runtime
