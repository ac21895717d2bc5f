"""Interfaces to `mri_pipeline.images`: brain, registration, midpoint space, resampling, tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, isdefined, traits

from mri_pipeline.analysis import preparation
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.duplicates import scan_digest
from workflows.alignment_records import (
    ScanRegistration,
    VisitAlignmentRecord,
    load_record_file,
    save_record_file,
    without_copies,
)
from workflows.interfaces.base import (
    FIELD,
    ContrastInputSpec,
    ContrastOutputSpec,
    Step,
    TissueInputSpec,
    TissueOutputSpec,
    load_contrasts,
    load_if_given,
    load_tissue,
)


class _ExtractBrainInputSpec(BaseInterfaceInputSpec):
    flair = File(exists=True, mandatory=True, desc="FLAIR as acquired")


class _ExtractBrainOutputSpec(TraitedSpec):
    brain = File(exists=True, desc="brain mask on the FLAIR's grid")
    template_to_flair = File(exists=True, desc="affine from the template's world")
    skull_stripped = traits.Bool(desc="the scan was skull-stripped on input")
    brain_quality = traits.Float(desc="quality of the match to the template")
    scan_digest = traits.Str(desc="digest of the FLAIR's voxels")


class ExtractBrain(Step):
    """Brain mask of one FLAIR."""

    input_spec = _ExtractBrainInputSpec
    output_spec = _ExtractBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        flair = nifti.load_scan(self.inputs.flair)
        found = preparation.extract_brain(flair)
        self.keep(runtime, brain=found.mask)
        self.keep_transform(runtime, "template_to_flair", found.template_to_image)
        self._results |= {"skull_stripped": bool(found.skull_stripped), "brain_quality": float(found.quality)}
        self._results["scan_digest"] = scan_digest(flair)
        return runtime


class _RegisterInputSpec(BaseInterfaceInputSpec):
    fixed = File(exists=True, mandatory=True, desc="fixed image")
    moving = File(exists=True, mandatory=True, desc="moving image")
    fixed_brain = File(exists=True, desc="brain mask on the fixed grid")
    moving_brain = File(exists=True, desc="brain mask on the moving grid")
    intra_modal = traits.Bool(mandatory=True, desc="both images have the same contrast")


class _RegisterOutputSpec(TraitedSpec):
    match = File(
        exists=True, desc="transform, quality and method, as JSON of workflows.alignment_records.ScanRegistration"
    )


class Register(Step):
    """Rigid registration. A failed registration is marked in its match and must not be used."""

    input_spec = _RegisterInputSpec
    output_spec = _RegisterOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        moving = nifti.load_scan(self.inputs.moving)
        found = preparation.register(
            nifti.load_image(self.inputs.fixed),
            moving,
            fixed_brain=load_if_given(self.inputs.fixed_brain),
            moving_brain=load_if_given(self.inputs.moving_brain),
            intra_modal=self.inputs.intra_modal,
        )
        folder = Path(runtime.cwd)
        match = ScanRegistration(
            moving_to_fixed=itk.save_transform(found.moving_to_fixed, folder / "moving_to_fixed.txt"),
            scan_digest=scan_digest(moving),
            quality=found.quality,
            method=found.method.value,
            failed=found.failed,
        )
        self._results["match"] = str(save_record_file(match, folder / "match.json"))
        return runtime


class _RecordVisitInputSpec(BaseInterfaceInputSpec):
    file = traits.Str(mandatory=True, desc="file to write, outside of the cache")
    brain = File(exists=True, mandatory=True, desc="brain mask on the FLAIR's grid")
    template_to_flair = File(exists=True, mandatory=True, desc="affine from the template's world")
    skull_stripped = traits.Bool(mandatory=True, desc="the FLAIR was skull-stripped on input")
    brain_quality = traits.Float(mandatory=True, desc="quality of the match to the template")
    scan_digest = traits.Str(mandatory=True, desc="digest of the FLAIR's voxels")
    t1w_match = File(exists=True, desc="within-visit registration")
    t1w_gd_match = File(exists=True, desc="within-visit registration")
    t2w_match = File(exists=True, desc="within-visit registration")
    pdw_match = File(exists=True, desc="within-visit registration")


class _RecordOutputSpec(TraitedSpec):
    record = File(exists=True, desc="the record that was written")


class RecordVisit(Step):
    """Record brain mask and registrations of one visit."""

    _always_run = True
    input_spec = _RecordVisitInputSpec
    output_spec = _RecordOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        matches = {c: getattr(self.inputs, f"{name}_match", None) for c, name in FIELD.items()}
        scans = {
            c: load_record_file(ScanRegistration, Path(file))
            for c, file in matches.items()
            if file and isdefined(file)
        }
        record = VisitAlignmentRecord(
            brain=Path(self.inputs.brain),
            template_to_flair=Path(self.inputs.template_to_flair),
            skull_stripped=self.inputs.skull_stripped,
            brain_quality=self.inputs.brain_quality,
            scan_digest=self.inputs.scan_digest,
            scans=without_copies(scans, self.inputs.scan_digest),
        )
        self._results["record"] = str(save_record_file(record, Path(self.inputs.file)))
        return runtime


class _RecordMatchInputSpec(BaseInterfaceInputSpec):
    file = traits.Str(mandatory=True, desc="file to write, outside of the cache")
    match = File(exists=True, mandatory=True, desc="registration of one visit's FLAIR to another's")


class RecordMatch(Step):
    """Record the registration of one visit to another."""

    _always_run = True
    input_spec = _RecordMatchInputSpec
    output_spec = _RecordOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        match = load_record_file(ScanRegistration, Path(self.inputs.match))
        self._results["record"] = str(save_record_file(match, Path(self.inputs.file)))
        return runtime


class _MidwayInputSpec(BaseInterfaceInputSpec):
    flairs = InputMultiObject(File(exists=True), mandatory=True, desc="FLAIR of every visit")
    brains = InputMultiObject(File(exists=True), mandatory=True, desc="their brain masks")
    templates_to_flair = InputMultiObject(File(exists=True), mandatory=True, desc="template affine of every visit")
    to_first = InputMultiObject(File(exists=True), desc="transforms of the second and later visits to the first")


class _MidwayOutputSpec(TraitedSpec):
    brain = File(exists=True, desc="brain mask of the subject; its grid is the subject's grid")
    whole_brain = File(exists=True, desc="brain mask including regions that some visit has not scanned")
    flairs_to_subject = traits.List(File(exists=True), desc="transform of every visit's FLAIR")
    template_to_subject = File(exists=True, desc="affine from the template's world")


class Midway(Step):
    """Midpoint space of all visits of a subject, with its grid and brain mask."""

    input_spec = _MidwayInputSpec
    output_spec = _MidwayOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        later = self.inputs.to_first if isdefined(self.inputs.to_first) else []
        space = preparation.subject_space(
            flairs=[nifti.load_image(f) for f in self.inputs.flairs],
            brains=[nifti.load_labels(f) for f in self.inputs.brains],
            templates_to_flair=[itk.load_transform(f) for f in self.inputs.templates_to_flair],
            later_to_first=[itk.load_transform(f) for f in later],
        )
        self.keep(runtime, brain=space.brain, whole_brain=space.whole_brain)
        self.keep_transform(runtime, "template_to_subject", space.template_to_subject)
        self._results["flairs_to_subject"] = [
            str(itk.save_transform(transform, Path(runtime.cwd) / f"flair_{number}_to_subject.txt"))
            for number, transform in enumerate(space.flairs_to_subject)
        ]
        return runtime


class _PrepareInputSpec(ContrastInputSpec):
    brain = File(exists=True, mandatory=True, desc="brain mask on the subject's grid")
    whole_brain = File(
        exists=True, desc="brain mask including regions that some visit has not scanned; undefined in a kept space"
    )
    flair_to_subject = File(
        exists=True, mandatory=True, desc="transform of this visit's FLAIR to the subject's space"
    )
    t1w_to_flair = File(exists=True, desc="within-visit transform")
    t1w_gd_to_flair = File(exists=True, desc="within-visit transform")
    t2w_to_flair = File(exists=True, desc="within-visit transform")
    pdw_to_flair = File(exists=True, desc="within-visit transform")


class _PrepareOutputSpec(ContrastOutputSpec):
    brain = File(exists=True, desc="brain mask within the field of view of the visit's FLAIR")
    brain_covered = traits.Float(desc="share of the whole brain that is scanned")
    qc_flags = traits.Str(desc="QC flags of scans that do not cover the brain")
    transforms = traits.Dict(traits.Str(), File(exists=True), desc="contrast to its transform to the subject")


class Prepare(Step):
    """Resample every contrast of a visit to the subject's grid once and correct its bias field."""

    input_spec = _PrepareInputSpec
    output_spec = _PrepareOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        flair_to_subject = itk.load_transform(self.inputs.flair_to_subject)
        images = load_contrasts(self.inputs)
        to_subject = {
            contrast: flair_to_subject
            if contrast is Contrast.FLAIR
            else flair_to_subject @ itk.load_transform(getattr(self.inputs, f"{FIELD[contrast]}_to_flair"))
            for contrast in images
        }
        whole = self.inputs.whole_brain
        brain, self._results["brain_covered"] = preparation.brain_of_visit(
            nifti.load_labels(self.inputs.brain),
            images[Contrast.FLAIR],
            flair_to_subject,
            whole_brain=load_if_given(whole),
        )
        self.keep(runtime, brain=brain)
        prepared = preparation.prepare_visit(images, to_subject, brain)
        self._results["qc_flags"] = preparation.partly_scanned(prepared, brain)
        self.keep_contrasts(runtime, prepared)
        self._results["transforms"] = {
            contrast.value: str(
                itk.save_transform(transform, Path(runtime.cwd) / f"{FIELD[contrast]}_to_subject.txt")
            )
            for contrast, transform in to_subject.items()
        }
        return runtime


class _MapTissueInputSpec(BaseInterfaceInputSpec):
    flairs = InputMultiObject(File(exists=True), mandatory=True, desc="prepared FLAIR of every visit")
    t1ws = InputMultiObject(
        File(exists=True), desc="prepared T1 of the visits that have one, before contrast if any has"
    )
    brain = File(exists=True, mandatory=True, desc="brain mask on the subject's grid")
    template_to_subject = File(exists=True, mandatory=True, desc="affine from the template's world")


class MapTissue(Step):
    """Tissue and location maps of the subject."""

    input_spec = _MapTissueInputSpec
    output_spec = TissueOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        t1ws = self.inputs.t1ws if isdefined(self.inputs.t1ws) else []
        tissue = preparation.map_subject_tissue(
            flairs=[nifti.load_image(f) for f in self.inputs.flairs],
            t1ws=[nifti.load_image(f) for f in t1ws],
            brain=nifti.load_labels(self.inputs.brain),
            template_to_subject=itk.load_transform(self.inputs.template_to_subject),
        )
        self.keep_tissue(runtime, tissue)
        return runtime


class _MatchFlairsInputSpec(TissueInputSpec):
    flairs = InputMultiObject(File(exists=True), mandatory=True, desc="prepared FLAIR of every visit")
    brain = File(exists=True, mandatory=True, desc="brain mask on the subject's grid")


class _MatchFlairsOutputSpec(TraitedSpec):
    flairs = traits.List(File(exists=True), desc="the FLAIRs on a common intensity scale, in the same order")


class MatchFlairs(Step):
    """Bring the FLAIRs of all visits to a common intensity scale."""

    input_spec = _MatchFlairsInputSpec
    output_spec = _MatchFlairsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        matched = preparation.match_flairs(
            [nifti.load_image(f) for f in self.inputs.flairs],
            brain=nifti.load_labels(self.inputs.brain),
            tissue=load_tissue(self.inputs),
        )
        folder = Path(runtime.cwd)
        self._results["flairs"] = [
            str(nifti.save(image, folder / f"flair_{number}.nii")) for number, image in enumerate(matched)
        ]
        return runtime
