"""Interfaces of the first workflow of a subject: brain masks, registrations, and their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec, isdefined, traits

from mri_pipeline.analysis import preparation
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.images.duplicates import scan_digest
from workflows.alignment.records import (
    ScanRegistration,
    VisitAlignmentRecord,
    load_record_file,
    save_record_file,
    without_copies,
)
from workflows.interfaces.base import FIELD, ContentStep, Step, load_if_given


class _ExtractBrainInputSpec(BaseInterfaceInputSpec):
    flair = File(exists=True, mandatory=True, desc="FLAIR as acquired")


class _ExtractBrainOutputSpec(TraitedSpec):
    brain = File(exists=True, desc="brain mask on the FLAIR's grid")
    template_to_flair = File(exists=True, desc="affine from the template's world")
    skull_stripped = traits.Bool(desc="the scan was skull-stripped on input")
    brain_quality = traits.Float(desc="quality of the match to the template")
    scan_digest = traits.Str(desc="digest of the FLAIR's voxels")


class ExtractBrain(ContentStep):
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
        exists=True, desc="transform, quality and method, as JSON of workflows.alignment.records.ScanRegistration"
    )


class Register(ContentStep):
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
