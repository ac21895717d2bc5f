"""Interface to an external segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from mri_pipeline.analysis.segmenter import run_segmenter
from mri_pipeline.core.io import nifti
from mri_pipeline.core.segmenters import Segmenter
from workflows.interfaces.base import ContentStep, ContrastInputSpec, load_contrasts


class _RunSegmenterInputSpec(ContrastInputSpec):
    brain = File(exists=True, mandatory=True, desc="brain mask on the images' grid")
    segmenter = traits.Str(mandatory=True, desc="settings of the segmenter without its time limit, as JSON")
    timeout_minutes = traits.Float(mandatory=True, nohash=True, desc="time limit; it does not affect the result")
    visit = traits.Str(mandatory=True, nohash=True, desc="label, for messages")


class _RunSegmenterOutputSpec(TraitedSpec):
    found = File(exists=True, desc="mask or probability as the command wrote it")


class RunSegmenter(ContentStep):
    """Run an external T2 segmenter on one visit."""

    input_spec = _RunSegmenterInputSpec
    output_spec = _RunSegmenterOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        segmenter = Segmenter.model_validate_json(self.inputs.segmenter)
        found = run_segmenter(
            segmenter.model_copy(update={"timeout_minutes": self.inputs.timeout_minutes}),
            load_contrasts(self.inputs),
            nifti.load_labels(self.inputs.brain),
            Path(runtime.cwd) / "segmenter",
            visit=self.inputs.visit,
        )
        self.keep(runtime, found=found)
        return runtime
