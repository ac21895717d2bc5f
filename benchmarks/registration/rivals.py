"""Rigid registration by other tools, in an environment of their own: jobs in, matrices and CPU seconds out.

Usage::

    python3.11 -m venv rivals
    rivals/bin/pip install -r benchmarks/registration/rivals-requirements.txt
    rivals/bin/python benchmarks/registration/rivals.py JOBS.json RESULTS.json

The jobs are a list of objects: ``name``, the paths ``fixed``, ``moving`` and ``mask`` (of the fixed image), and
``tools``, names of `TOOLS`. This file imports nothing of the project. A result holds the tool's map from the fixed to
the moving world (RAS, 4 x 4) and its CPU seconds, without reading files where the tool allows that. Every tool gets
one thread and the same mask of the fixed image. A tool that fails has an ``error`` in place of a matrix: none is left
out in silence.
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
"""Starts of SimpleITK's search in each axis, beside the headers' position."""


def as_ras(transform: Any) -> np.ndarray:
    """A SimpleITK transform of points (LPS) as a RAS matrix."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = np.eye(3)[axis]
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:3, 3] = origin
    return np.asarray(FLIP @ matrix @ FLIP)


def simpleitk(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Mattes mutual information on grids of about 1.5 mm, from the best of 28 starts."""
    target, source = (shrunk(sitk.ReadImage(f, sitk.sitkFloat32)) for f in (fixed, moving))
    region = sitk.Cast(shrunk(sitk.ReadImage(mask, sitk.sitkFloat32)) > 0.5, sitk.sitkUInt8)
    centred = sitk.CenteredTransformInitializer(
        target, source, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    starts = [sitk.Euler3DTransform()]
    starts[0].SetCenter(sitk.Euler3DTransform(centred).GetCenter())
    for angles in np.stack(np.meshgrid(*[np.radians(TURNS_DEGREES)] * 3), axis=-1).reshape(-1, 3):
        start = sitk.Euler3DTransform(centred)
        start.SetRotation(*(float(a) for a in angles))
        starts.append(start)
    coarse = itk_method(region, shrink=[4], sigma=[4], share=0.5)
    valued = []
    for start in starts:
        coarse.SetInitialTransform(start, inPlace=False)
        try:
            valued.append((coarse.MetricEvaluate(target, source), start))
        except RuntimeError:  # ITK raises where the images do not meet
            continue
    valued.sort(key=lambda pair: pair[0])
    best = None
    for start in [starts[0], *(start for _, start in valued[:3])]:
        method = itk_method(region, shrink=[4, 2], sigma=[3, 1.5], share=0.2)
        method.SetInitialTransform(start, inPlace=False)
        try:
            found = method.Execute(target, source)
        except RuntimeError:
            continue
        if best is None or method.GetMetricValue() < best[0]:
            best = (method.GetMetricValue(), found)
    if best is None:
        raise RuntimeError("no start where the images meet")
    method = itk_method(region, shrink=[1], sigma=[0.7], share=0.2)
    method.SetInitialTransform(sitk.Euler3DTransform(sitk.CompositeTransform(best[1]).GetBackTransform()), False)
    return as_ras(method.Execute(target, source))


def shrunk(image: Any) -> Any:
    return sitk.BinShrink(image, [max(1, round(1.5 / s)) for s in image.GetSpacing()])


def itk_method(region: Any, *, shrink: list[int], sigma: list[float], share: float) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, 42)
    method.SetMetricFixedMask(region)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0 if len(shrink) > 1 else 0.3, 0.001, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(sigma)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def greedy(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Greedy's rigid mode with mutual information; from the headers: its random search fails with a mask."""
    from picsl_greedy import Greedy3D  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        matrix = Path(folder) / "rigid.mat"
        Greedy3D().execute(
            f"-d 3 -a -dof 6 -threads 1 -m NMI -i {fixed} {moving} -gm {mask} "
            f"-ia-identity -n 100x100x50 -V 0 -o {matrix}"
        )
        return np.loadtxt(matrix)  # fixed to moving, RAS


def elastix(fixed: str, moving: str, mask: str) -> np.ndarray:
    """Elastix's own rigid parameter map (Mattes mutual information), started from the heads' centres of mass."""
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
    """ANTs' own `Rigid` (Mattes mutual information, started from the centres of mass)."""
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
    jobs = json.loads(Path(sys.argv[1]).read_text())
    results = []
    for job in jobs:
        for tool in job["tools"]:
            start = time.process_time()
            result: dict[str, Any] = {"name": job["name"], "tool": tool}
            try:
                result["matrix"] = TOOLS[tool](job["fixed"], job["moving"], job["mask"]).tolist()
            except Exception as error:  # noqa: BLE001 whatever a tool raises is its result
                result["error"] = f"{type(error).__name__}: {error}"
            result["cpu_s"] = time.process_time() - start
            results.append(result)
            Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
