"""Interfaces of the intake. Their working folders hold identified data and lie in a private folder.

They pass domain objects between nodes. The trial's secrets are no inputs: Nipype writes inputs to disk. The interfaces
read them from the sealed folder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.read import read_headers
from mri_pipeline.intake.unpack import UnpackLimits, unpack
from qc.conversion import ImagesOnDisk, ScanFile, convert_chosen, deidentify_chosen
from qc.decision import acquired_3d, decide_pair, judged_scans, phase_axes
from qc.gate import choose_series
from qc.measures import measure_visit

_FAULTS: ContextVar[list[BaseException] | None] = ContextVar("faults", default=None)


@contextmanager
def original_faults() -> Iterator[list[BaseException]]:
    """Collect the original exceptions of the nodes that run in this process. Nipype passes on their text alone.

    Nipype turns an interrupt (KeyboardInterrupt) into a failed node, too.

    Yields
    ------
    list of BaseException
        In the order of the failures.
    """
    found: list[BaseException] = []
    token = _FAULTS.set(found)
    try:
        yield found
    finally:
        _FAULTS.reset(token)


class IntakeStep(SimpleInterface):
    """A step of the intake. Its exception reaches `original_faults`."""

    @abstractmethod
    def _step(self, runtime: Any) -> dict[str, Any]:
        """The results by output field."""

    def _run_interface(self, runtime: Any) -> Any:
        try:
            self._results.update(self._step(runtime))
        except BaseException as error:
            faults = _FAULTS.get()
            if faults is not None:
                faults.append(error)
            raise
        return runtime


def _domain_object(description: str) -> Any:
    """A mandatory input that holds an object of the library; Nipype need not hash it."""
    return traits.Any(mandatory=True, nohash=True, desc=description)


class _UnpackInputSpec(BaseInterfaceInputSpec):
    upload = traits.Str(mandatory=True, nohash=True, desc="path of a folder, zip or tar")
    max_upload_mb = traits.Int(mandatory=True, desc="limit of the unpacked size in MB")


class _UnpackOutputSpec(TraitedSpec):
    unpacked = traits.Any(desc="mri_pipeline.intake.unpack.Unpacked")


class Unpack(IntakeStep):
    """Unpack an upload to files with neutral names."""

    input_spec = _UnpackInputSpec
    output_spec = _UnpackOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:
        limits = UnpackLimits(max_bytes=self.inputs.max_upload_mb * 1_000_000)
        return {"unpacked": unpack(Path(self.inputs.upload), Path(runtime.cwd) / "files", limits)}


class _ReadHeadersInputSpec(BaseInterfaceInputSpec):
    unpacked = _domain_object("files of the upload")
    trial = traits.Str(mandatory=True, desc="folder of the trial, for the keys of patients, studies and scanners")
    site = traits.Str(mandatory=True, desc="code of the site, for the pseudonyms of its browser; empty: none")


class _ReadHeadersOutputSpec(TraitedSpec):
    reading = traits.Any(desc="mri_pipeline.intake.read.HeaderReading")


class ReadHeaders(IntakeStep):
    """Read the headers in a process with limits."""

    input_spec = _ReadHeadersInputSpec
    output_spec = _ReadHeadersOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:  # noqa: ARG002
        sealed, site = Sealed.open(Trial(Path(self.inputs.trial))), self.inputs.site
        browser_key = sealed.browser_key(site) if site else b""
        reading = read_headers(self.inputs.unpacked.files, key=sealed.secret("intake"), browser_key=browser_key)
        return {"reading": reading}


class _ChooseInputSpec(BaseInterfaceInputSpec):
    unpacked = _domain_object("files of the upload")
    reading = _domain_object("their headers")
    protocol = _domain_object("mri_pipeline.core.protocol.Protocol")
    purpose = _domain_object("qc.compliance.UploadPurpose")
    previous = traits.Any(nohash=True, desc="another visit of the patient: qc.protocol_change.PreviousScan")
    overruled = traits.Bool(mandatory=True, desc="True if the reading centre accepts violated limits")
    stated = traits.Any(nohash=True, desc="contrast to series number, by the site's statement")


class _ChooseOutputSpec(TraitedSpec):
    checked = traits.Any(desc="qc.gate.CheckedUpload")


class Choose(IntakeStep):
    """Recognise, choose and judge the series by their headers."""

    input_spec = _ChooseInputSpec
    output_spec = _ChooseOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:  # noqa: ARG002
        inputs = self.inputs
        checked = choose_series(
            inputs.reading,
            not_kept=inputs.unpacked.left_out,
            protocol=inputs.protocol,
            purpose=inputs.purpose,
            previous=inputs.previous,
            overruled=inputs.overruled,
            stated=inputs.stated,
        )
        return {"checked": checked}


class _DeidentifyInputSpec(BaseInterfaceInputSpec):
    checked = _domain_object("the chosen series")
    trial = traits.Str(mandatory=True, desc="folder of the trial, for new UIDs and the date shift")
    code = traits.Str(mandatory=True, desc="replaces name and number of the patient")
    cleared = _domain_object("elements that hold no identity: Blinding.cleared")


class _DeidentifyOutputSpec(TraitedSpec):
    clean = traits.Any(desc="contrast to the folder of its de-identified files")


class Deidentify(IntakeStep):
    """De-identify the chosen series. A visit that does not meet the protocol ends here."""

    input_spec = _DeidentifyInputSpec
    output_spec = _DeidentifyOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:
        inputs = self.inputs
        secret = Sealed.open(Trial(Path(inputs.trial))).secret("blinding")
        blinding = Blinding(inputs.code, secret, inputs.cleared)
        return {"clean": deidentify_chosen(inputs.checked, Path(runtime.cwd) / "clean", blinding)}


class _ConvertInputSpec(BaseInterfaceInputSpec):
    checked = _domain_object("the chosen series")
    clean = _domain_object("folders of their de-identified files")


class _ConvertOutputSpec(TraitedSpec):
    files = traits.Any(desc="contrast to qc.conversion.ScanFile")


class Convert(IntakeStep):
    """Convert the series with dcm2niix, compared slice by slice with their pixels."""

    input_spec = _ConvertInputSpec
    output_spec = _ConvertOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:
        return {
            "files": {
                contrast: ScanFile(
                    nifti.save_scan(converted.image, Path(runtime.cwd) / f"{contrast.value}.nii"),
                    converted.sidecar,
                    self.inputs.clean[contrast],
                )
                for contrast, converted in convert_chosen(self.inputs.checked, self.inputs.clean)
            }
        }


class _VerifyInputSpec(BaseInterfaceInputSpec):
    checked = _domain_object("the chosen series")
    files = _domain_object("the converted series")


class _VerifyOutputSpec(TraitedSpec):
    decision = traits.Any(desc="qc.contrast_timing.TimingDecision")


class Verify(IntakeStep):
    """Compare the T1 before and after contrast with what headers and names say."""

    input_spec = _VerifyInputSpec
    output_spec = _VerifyOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"decision": decide_pair(self.inputs.checked, ImagesOnDisk(self.inputs.files))}


class _MeasureInputSpec(BaseInterfaceInputSpec):
    files = _domain_object("the converted series")
    decision = _domain_object("which contrast each of them has")


class _MeasureOutputSpec(TraitedSpec):
    measures = traits.Any(desc="contrast to qc.measures.ImageMeasures")


class Measure(IntakeStep):
    """Measure the quality of the images."""

    input_spec = _MeasureInputSpec
    output_spec = _MeasureOutputSpec

    def _step(self, runtime: Any) -> dict[str, Any]:  # noqa: ARG002
        decision = self.inputs.decision
        return {
            "measures": measure_visit(
                ImagesOnDisk(self.inputs.files),
                judged_scans(decision),
                acquired_3d(decision),
                phase_axes(decision),
            )
        }
