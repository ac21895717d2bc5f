"""Interfaces of the subject's space: midpoint space, resampling, tissue maps, common intensity scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, isdefined, traits

from mri_pipeline.analysis import preparation
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.visits import Contrast
from workflows.interfaces.base import (
    FIELD,
    ContentStep,
    ContrastInputSpec,
    ContrastOutputSpec,
    Step,
    TissueInputSpec,
    TissueOutputSpec,
    load_contrasts,
    load_tissue,
)


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


class Midway(ContentStep):
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
        exists=True, mandatory=True, desc="brain mask including regions that some visit has not scanned"
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


class Prepare(ContentStep):
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
        brain, self._results["brain_covered"] = preparation.brain_of_visit(
            nifti.load_labels(self.inputs.brain),
            images[Contrast.FLAIR],
            flair_to_subject,
            whole_brain=nifti.load_labels(self.inputs.whole_brain),
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


class MatchFlairs(ContentStep):
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
