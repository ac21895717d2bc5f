"""Rigid registration with other tools in a separate environment.

Usage::

    python3.11 -m venv rivals
    rivals/bin/pip install -r benchmarks/registration/rivals-requirements.txt
    rivals/bin/python benchmarks/registration/rivals.py JOBS.json RESULTS.json

The jobs (written by `against.py`) are a list of objects: ``name``, the paths ``fixed``, ``moving`` and ``mask`` (of
the fixed image), and ``tools``, names of `TOOLS`. This file imports nothing of the project. A result holds the
transform from the fixed to the moving world (RAS, 4 x 4) and its CPU seconds, without file reading where the tool
allows that. Every tool gets one thread and the same mask of the fixed image. A tool that fails has an ``error`` in
place of a matrix. Jobs that the results contain are skipped.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np
import SimpleITK as sitk

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""
TURNS_DEGREES = (-20.0, 0.0, 20.0)
"""Starts of SimpleITK's search about each axis, beside the headers' position."""
COARSE_MM, FINE_MM = 4.0, 1.0
LEAST_COVERED = 0.7
"""A start counts if the moving image covers this share of the mask: with few points any two images look alike."""


def as_ras(transform: Any) -> np.ndarray:
    """Convert a SimpleITK transform of points (LPS) to a RAS matrix."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = np.eye(3)[axis]
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:3, 3] = origin
    return np.asarray(FLIP @ matrix @ FLIP)


def simpleitk(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Mattes mutual information at 4, 2 and 1 mm, from the best of 28 starts."""
    target, source, region = read(fixed, moving, mask, COARSE_MM)
    coarse = itk_method(region, shrink=[1], sigma=[COARSE_MM], sampled=1.0)
    meeting = [start for start in starts(target, source) if covered(region, source, start) >= LEAST_COVERED]
    found = []
    for start in sorted(meeting, key=lambda start: metric(coarse, target, source, start))[:3]:
        coarse.SetInitialTransform(start, inPlace=False)
        better = rigid(coarse.Execute(target, source))
        if covered(region, source, better) >= LEAST_COVERED:
            found.append((metric(coarse, target, source, better), better))
    if not found:
        raise RuntimeError("no start where the images meet")
    target, source, region = read(fixed, moving, mask, FINE_MM)
    method = itk_method(region, shrink=[2, 1], sigma=[1, 0], sampled=0.1)
    method.SetInitialTransform(min(found, key=lambda pair: pair[0])[1], inPlace=False)
    return as_ras(method.Execute(target, source))


def read(fixed: str, moving: str, mask: str, mm: float) -> tuple[Any, Any, Any]:
    """Read the scans, averaged to a voxel size, and the mask on the grid of the fixed scan."""
    target, source = (shrunk(sitk.ReadImage(f, sitk.sitkFloat32), mm) for f in (fixed, moving))
    region = shrunk(sitk.ReadImage(mask, sitk.sitkFloat32), mm) > 0.5
    return target, source, sitk.Cast(region, sitk.sitkUInt8)


def starts(target: Any, source: Any) -> list[Any]:
    """Starts: the headers, then aligned centres of mass with 27 rotations."""
    kind = sitk.CenteredTransformInitializerFilter.MOMENTS
    centred = sitk.CenteredTransformInitializer(target, source, sitk.Euler3DTransform(), kind)
    header = sitk.Euler3DTransform()
    header.SetCenter(sitk.Euler3DTransform(centred).GetCenter())
    result = [header]
    for angles in np.stack(np.meshgrid(*[np.radians(TURNS_DEGREES)] * 3), axis=-1).reshape(-1, 3):
        start = sitk.Euler3DTransform(centred)
        start.SetRotation(*(float(a) for a in angles))
        result.append(start)
    return result


def metric(method: Any, target: Any, source: Any, transform: Any) -> float:
    """Negative mutual information; 0 if the images do not overlap."""
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return float(method.MetricEvaluate(target, source))
    except RuntimeError:
        return 0.0


def covered(region: Any, source: Any, transform: Any) -> float:
    """Share of the mask that the moving image covers."""
    ones = sitk.Image(source.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(source)
    seen = sitk.GetArrayViewFromImage(sitk.Resample(ones, region, transform, sitk.sitkNearestNeighbor, 0))
    within = sitk.GetArrayViewFromImage(region) > 0
    return float((seen[within] > 0).mean())


def rigid(transform: Any) -> Any:
    return sitk.Euler3DTransform(sitk.CompositeTransform(transform).GetBackTransform())


def shrunk(image: Any, mm: float) -> Any:
    return sitk.BinShrink(image, [max(1, round(mm / s)) for s in image.GetSpacing()])


def itk_method(region: Any, *, shrink: list[int], sigma: list[float], sampled: float) -> Any:
    """Mattes mutual information of a regular share of the voxels, steps from 1 mm down to 0.001 mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(sampled, 42)
    method.SetMetricFixedMask(region)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.001, 200, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(sigma)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def greedy(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Greedy's rigid mode with mutual information, on grids of 1.5 mm, from the headers and from the centres of mass.

    Mattes mutual information selects the better of the two. Greedy's random search fails with a mask.
    """
    from picsl_greedy import Greedy3D  # noqa: PLC0415

    target, source, region = read(fixed, moving, mask, FINE_MM)
    judge = itk_method(region, shrink=[1], sigma=[2], sampled=0.1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder) / f"{name}.nii") for name in ("target", "source", "region")}
        for name, image in (("target", target), ("source", source), ("region", region)):
            sitk.WriteImage(isotropic(image), files[name])
        header, *turned = starts(target, source)
        for number, start in enumerate((header, turned[len(turned) // 2])):
            first, last = (str(Path(folder) / f"{number}_{name}.mat") for name in ("first", "last"))
            np.savetxt(first, as_ras(start))
            Greedy3D().execute(
                f"-d 3 -a -dof 6 -threads 1 -m NMI -i {files['target']} {files['source']} -gm {files['region']} "
                f"-ia {first} -n 100x100x50 -V 0 -o {last}"
            )
            matrix = np.loadtxt(last)  # fixed to moving, RAS
            found.append((metric(judge, target, source, as_sitk(matrix)), matrix))
    return np.asarray(min(found, key=lambda pair: pair[0])[1])


def isotropic(image: Any) -> Any:
    """Image on an isotropic grid of 1.5 mm: greedy halves all axes at each level, also across thick slices."""
    spacing = [1.5] * 3
    size = [max(1, round(n * s / 1.5)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    order = sitk.sitkNearestNeighbor if image.GetPixelID() == sitk.sitkUInt8 else sitk.sitkLinear
    corner = image.TransformContinuousIndexToPhysicalPoint([-0.5 + 0.75 / s for s in image.GetSpacing()])
    return sitk.Resample(image, size, sitk.Transform(), order, corner, spacing, image.GetDirection())


def as_sitk(matrix: np.ndarray) -> Any:
    """Convert a RAS matrix to a transform of points in LPS."""
    turned = FLIP @ matrix @ FLIP
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(turned[:3, :3].ravel().tolist())
    transform.SetTranslation(turned[:3, 3].tolist())
    return transform


def elastix(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Elastix's default rigid parameter map (Mattes mutual information), started from the centres of mass."""
    import itk  # noqa: PLC0415

    parameters = itk.ParameterObject.New()
    rigid = dict(parameters.GetDefaultParameterMap("rigid", 4))
    rigid["AutomaticTransformInitialization"] = ["true"]
    rigid["AutomaticTransformInitializationMethod"] = ["CenterOfGravity"]
    rigid["ErodeMask"] = ["false"]
    parameters.AddParameterMap(rigid)
    _, found = itk.elastix_registration_method(
        itk.imread(fixed, itk.F),
        itk.imread(moving, itk.F),
        fixed_mask=itk.imread(mask, itk.UC),
        parameter_object=parameters,
        number_of_threads=1,
        log_to_console=False,
    )
    values = found.GetParameterMap(0)
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(values.get("ComputeZYX", ("false",))[0] == "true")
    transform.SetCenter([float(x) for x in values["CenterOfRotationPoint"]])
    transform.SetParameters([float(x) for x in values["TransformParameters"]])
    return as_ras(transform)


def ants(fixed: str, moving: str, mask: str) -> np.ndarray:
    """ANTs' default `Rigid` (Mattes mutual information), started from the centres of mass."""
    import ants as antspy  # noqa: PLC0415

    found = antspy.registration(
        antspy.image_read(fixed),
        antspy.image_read(moving),
        type_of_transform="Rigid",
        mask=antspy.image_read(mask),
        singleprecision=True,
        random_seed=1,
    )
    return as_ras(sitk.ReadTransform(found["fwdtransforms"][0]))


TOOLS: dict[str, Callable[[str, str, str], np.ndarray]] = {
    "SimpleITK": simpleitk,
    "greedy": greedy,
    "elastix": elastix,
    "ANTs": ants,
}


def main() -> None:
    jobs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    results = json.loads(out.read_text()) if out.exists() else []
    done = {(result["name"], result["tool"]) for result in results}
    for job in jobs:
        for tool in job["tools"]:
            if (job["name"], tool) in done:
                continue
            start = time.process_time()
            result: dict[str, Any] = {"name": job["name"], "tool": tool}
            try:
                result["matrix"] = TOOLS[tool](job["fixed"], job["moving"], job["mask"]).tolist()
            except Exception as error:  # noqa: BLE001 whatever a tool raises is its result
                result["error"] = f"{type(error).__name__}: {error}"
            result["cpu_s"] = time.process_time() - start
            results.append(result)
            out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
