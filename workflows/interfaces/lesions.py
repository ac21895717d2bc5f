"""Interfaces to `mri_pipeline.lesions`: the lesions of one visit, and their tracking over all visits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, isdefined, traits

from mri_pipeline.analysis import steps
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.results import save_result
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.visits import Contrast, VisitMasks
from qc.registration import contrast_qc_flag
from workflows.interfaces.base import (
    ContrastInputSpec,
    ContrastOutputSpec,
    Step,
    TissueInputSpec,
    load_contrasts,
    load_tissue,
)


class _SegmentT2InputSpec(TissueInputSpec):
    visits = traits.List(traits.Str(), mandatory=True, desc="labels of the visits, in the order of the lists")
    flairs = InputMultiObject(
        File(exists=True), mandatory=True, desc="prepared FLAIR of every visit, on a common intensity scale"
    )
    t1s = InputMultiObject(File(exists=True), desc="prepared T1 (before contrast, else after) of visits with one")
    with_t1 = traits.List(traits.Int(), desc="positions of those visits")
    t2ws = InputMultiObject(File(exists=True), desc="prepared T2w of visits with one")
    with_t2w = traits.List(traits.Int(), desc="positions of those visits")
    brains = InputMultiObject(File(exists=True), mandatory=True, desc="brain mask of every visit")
    external = InputMultiObject(File(exists=True), desc="mask of another segmenter for every visit")
    rules = traits.Str(mandatory=True, desc="lesion rules of the protocol, as JSON")


class _SegmentT2OutputSpec(TraitedSpec):
    probabilities = traits.List(File(exists=True), desc="T2 lesion probability of every visit")
    t2_lesions = traits.List(File(exists=True), desc="T2 lesion mask of every visit")
    qc_flags = traits.List(traits.Str(), desc="QC flags of every visit")


class SegmentT2(Step):
    """Segment the T2 lesions of all visits together, or use the masks of another segmenter."""

    input_spec = _SegmentT2InputSpec
    output_spec = _SegmentT2OutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        visits = [{Contrast.FLAIR: nifti.load_image(file)} for file in inputs.flairs]
        for position, file in zip(inputs.with_t1, inputs.t1s, strict=True) if isdefined(inputs.t1s) else ():
            visits[position][Contrast.T1W] = nifti.load_image(file)
        for position, file in zip(inputs.with_t2w, inputs.t2ws, strict=True) if isdefined(inputs.t2ws) else ():
            visits[position][Contrast.T2W] = nifti.load_image(file)
        rules = LesionRules.model_validate_json(inputs.rules)
        brains = [nifti.load_labels(file) for file in inputs.brains]
        tissue = load_tissue(inputs)
        if rules.segmenter is None:
            found = steps.segment_t2(visits, brains=brains, tissue=tissue, rules=rules)
            qc_flags = ["" for _ in found]
        else:
            maps = [nifti.load_map(file) for file in inputs.external]
            found, qc_flags = steps.take_t2(
                maps, visits, brains=brains, tissue=tissue, segmenter=rules.segmenter, rules=rules
            )
        folder = Path(runtime.cwd)
        self._results |= {"probabilities": [], "t2_lesions": [], "qc_flags": qc_flags}
        for number, visit in enumerate(found):
            self._results["probabilities"].append(str(nifti.save(visit.probability, folder / f"t2_{number}.nii")))
            self._results["t2_lesions"].append(str(nifti.save(visit.mask, folder / f"t2_{number}_lesions.nii")))
        return runtime


class _SegmentInputSpec(ContrastInputSpec, TissueInputSpec):
    visit = traits.Str(mandatory=True, desc="label")
    t2_lesions = File(exists=True, mandatory=True, desc="T2 lesion mask")
    t2_probability = File(exists=True, mandatory=True, desc="T2 probability map")
    brain = File(exists=True, mandatory=True, desc="brain mask on the subject's grid")
    rules = traits.Str(mandatory=True, desc="lesion rules of the protocol, as JSON")


class _SegmentOutputSpec(ContrastOutputSpec):
    t2_lesions = File(exists=True, desc="T2 lesions, with the enhancing lesions not found on T2")
    t2_probability = File(exists=True, desc="T2 probability map")
    gel = File(exists=True, desc="enhancing lesions; undefined without a post-contrast T1")
    gel_probability = File(
        exists=True, desc="probability of each enhancing component; undefined without a post-contrast T1"
    )
    black_holes = File(exists=True, desc="black holes; undefined without a T1 before contrast")
    t1_hypointensity = File(exists=True, desc="grade of T1 hypointensity; undefined without a T1 before contrast")
    black_hole_visit = traits.Str(desc="label of the visit; undefined without black holes")
    qc_flags = traits.Str(desc="QC flags of both T1")


class Segment(Step):
    """Normalise a visit's images and find its enhancing lesions and black holes."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        brain = nifti.load_labels(self.inputs.brain)
        found = steps.segment_visit(
            load_contrasts(self.inputs),
            nifti.load_labels(self.inputs.t2_lesions),
            nifti.load_map(self.inputs.t2_probability),
            brain=brain,
            tissue=load_tissue(self.inputs),
            rules=LesionRules.model_validate_json(self.inputs.rules),
        )
        self.keep_contrasts(runtime, found.contrasts)
        self.keep(runtime, t2_lesions=found.t2_lesions, t2_probability=found.t2_probability)
        self._results["qc_flags"] = contrast_qc_flag(found.contrasts, brain, t1_enhanced=found.t1_enhanced)
        if found.gel is not None:
            self.keep(runtime, gel=found.gel.mask, gel_probability=found.gel.probability)
        if found.dark is not None:
            self.keep(runtime, black_holes=found.dark.black_holes, t1_hypointensity=found.dark.t1_hypointensity)
            self._results["black_hole_visit"] = self.inputs.visit
        return runtime


class _TrackInputSpec(BaseInterfaceInputSpec):
    subject = traits.Str(mandatory=True, desc="blinded code")
    visits = traits.List(traits.Str(), mandatory=True, desc="labels in the order of time")
    weeks = traits.Dict(traits.Str(), traits.Either(None, traits.Int()), mandatory=True, desc="label to week")
    flairs = InputMultiObject(File(exists=True), mandatory=True, desc="normalised FLAIR of every visit")
    t2_lesions = InputMultiObject(File(exists=True), mandatory=True, desc="mask of every visit")
    gel_visits = traits.List(traits.Str(), desc="visits with a post-contrast T1")
    gels = InputMultiObject(File(exists=True), desc="their masks, in the same order")
    black_hole_visits = traits.List(traits.Str(), desc="visits with black holes")
    black_holes = InputMultiObject(File(exists=True), desc="their masks, in the same order")
    t1_hypointensity = InputMultiObject(
        File(exists=True), desc="their grades of T1 hypointensity, in the same order"
    )
    location = File(exists=True, mandatory=True, desc="labels of mri_pipeline.core.anatomy.LOCATION_LABELS")
    rules = traits.Str(mandatory=True, desc="lesion rules of the protocol, as JSON")


class _TrackOutputSpec(TraitedSpec):
    result = File(exists=True, desc="counts and lesions of all visits")
    lesions = traits.List(File(exists=True), desc="numbered lesions of every visit")
    changes = traits.List(
        traits.Dict(traits.Str(), File(exists=True)), desc="for every visit, change mask label to file"
    )


class Track(Step):
    """Track lesions over visits and compute the counts of the protocol."""

    input_spec = _TrackInputSpec
    output_spec = _TrackOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        gels = dict(zip(inputs.gel_visits, inputs.gels, strict=True)) if isdefined(inputs.gels) else {}
        holes, t1_hypointensity = (
            dict(zip(inputs.black_hole_visits, files, strict=True)) if isdefined(files) else {}
            for files in (inputs.black_holes, inputs.t1_hypointensity)
        )
        masks = [
            VisitMasks(
                visit=visit,
                t2_lesions=nifti.load_labels(t2_lesions),
                gel=nifti.load_labels(gels[visit]) if visit in gels else None,
                black_holes=nifti.load_labels(holes[visit]) if visit in holes else None,
                flair=nifti.load_image(flair),
                t1_hypointensity=nifti.load_labels(t1_hypointensity[visit]) if visit in t1_hypointensity else None,
            )
            for visit, t2_lesions, flair in zip(inputs.visits, inputs.t2_lesions, inputs.flairs, strict=True)
        ]
        rules = LesionRules.model_validate_json(inputs.rules)
        tracking = steps.track(
            masks,
            tissue_location=nifti.load_labels(inputs.location),
            rules=rules,
            weeks=dict(inputs.weeks),
        )
        folder = Path(runtime.cwd)
        result = replace(tracking.result(inputs.subject), rules_digest=settings_digest(rules))
        self._results["result"] = str(save_result(result, folder / "result.json"))
        self._results["lesions"] = [
            str(nifti.save(visit.lesions, folder / f"{visit.visit}_lesions.nii")) for visit in tracking.visits
        ]
        self._results["changes"] = [
            {
                label.value: str(nifti.save(mask, folder / f"{visit.visit}_{label.value}.nii"))
                for label, mask in visit.masks.items()
            }
            for visit in tracking.visits
        ]
        return runtime
