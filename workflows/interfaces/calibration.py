"""Interface to `mri_pipeline.analysis.calibration`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, isdefined, traits

from mri_pipeline.analysis.calibration import acquired_voxel, calibrate_visit, calibrated, calibration_text
from mri_pipeline.core.calibration import DetectionRate
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.protocol import LesionRules
from workflows.interfaces.base import ContrastInputSpec, Step, TissueInputSpec, load_contrasts, load_tissue


class _CalibrateInputSpec(ContrastInputSpec, TissueInputSpec):
    visit = traits.Str(mandatory=True, desc="label")
    scans = traits.Dict(traits.Str(), traits.Str(), mandatory=True, desc="contrast to scan, for its voxel size")
    transforms = traits.Dict(traits.Str(), File(exists=True), mandatory=True, desc="contrast to transform")
    brain = File(exists=True, mandatory=True, desc="brain mask on the subject's grid")
    t2_lesions = File(exists=True, mandatory=True, desc="T2 lesions that the analysis found")
    gel = File(exists=True, desc="enhancing lesions that the analysis found")
    rules = traits.Str(mandatory=True, desc="lesion rules of the protocol, as JSON")


class _CalibrateOutputSpec(TraitedSpec):
    rates = File(exists=True, desc="detection rates of the visit, as CSV")


class Calibrate(Step):
    """Measure the detection rates of simulated lesions in the images of a visit. The images are not changed."""

    _always_run = True  # a cached failure would never be repeated

    input_spec = _CalibrateInputSpec
    output_spec = _CalibrateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        found = calibrated(self.inputs.visit, self._rates)
        self._results["rates"] = str(write_atomic(Path(runtime.cwd) / "rates.csv", calibration_text([found])))
        return runtime

    def _rates(self) -> list[DetectionRate]:
        inputs = self.inputs
        own = nifti.load_labels(inputs.t2_lesions).mask
        if isdefined(inputs.gel):
            own = own | nifti.load_labels(inputs.gel).mask
        images = load_contrasts(inputs)
        return calibrate_visit(
            inputs.visit,
            images,
            own=own,
            brain=nifti.load_labels(inputs.brain),
            tissue=load_tissue(inputs),
            rules=LesionRules.model_validate_json(inputs.rules),
            voxels={
                contrast: acquired_voxel(
                    nifti.load_image(inputs.scans[contrast.value]).grid,
                    itk.load_transform(inputs.transforms[contrast.value]),
                )
                for contrast in images
            },
        )
