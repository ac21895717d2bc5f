"""Learned parameters that come with the package. The scripts in ``training/`` make them.

Origin, licence and citation of each file: ``mri_pipeline/data/ORIGIN.md``.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io.packaged import packaged
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.spatial import FloatArray, Grid, Image
from mri_pipeline.core.trees import BoostedTrees

LESION_PRIOR_FILE = "lesion_prior.npz"
GEL_COEFFICIENTS_FILE = "gel_coefficients.json"
GEL_NODES_FILE = "gel_nodes.json"
T2_BASINS_FILE = "t2_basins.json"

_FLOOR = 1e-5
_STEPS_PER_E = 18.0  # 8 bits on a logarithmic scale: steps of 6 %, from the floor to 1


def save_lesion_prior(prior: Image, path: Path) -> Path:
    """Write a lesion prior in 8 bits on a logarithmic scale. Equal priors give equal files.

    Parameters
    ----------
    prior : Image
        Probabilities.
    path : Path
        ``.npz`` file. Parent folders are created.

    Returns
    -------
    Path
        `path`.
    """
    code = np.rint((np.log(np.maximum(prior.data, _FLOOR)) - np.log(_FLOOR)) * _STEPS_PER_E)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, code=np.clip(code, 0, 255).astype(np.uint8), affine=prior.grid.affine)
    return path


def read_lesion_prior(path: Path) -> Image:
    """Read a lesion prior that `save_lesion_prior` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file is missing or is not a lesion prior.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            code, affine = stored["code"], stored["affine"]
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(
            f"{path.name}: expected a lesion prior, found {type(error).__name__} while reading it",
            hint="make it again with training/lesion_prior.py",
        ) from error
    prior = np.exp(code.astype(np.float32) / _STEPS_PER_E) * _FLOOR
    return Image(np.where(code > 0, prior, 0.0), Grid(code.shape, affine))


@cache
def load_lesion_prior() -> Image:
    """The probability that a patient with MS has a T2 lesion at a position of template space.

    A left-right symmetric image of 4 mm voxels over the field of view of the template. It is 0 outside the brain and
    at most about 0.15, beside the ventricles: lesions of one patient occupy a small part of the region in which most
    patients have some. It is the mean of smoothed expert masks of 29 patients (Lesjak et al., Neuroinformatics 2018,
    CC-BY).

    Returns
    -------
    Image

    Examples
    --------
    >>> prior = load_lesion_prior()
    >>> bool(0.1 < prior.data.max() < 0.2), prior.grid.spacing_mm
    (True, (4.0, 4.0, 4.0))
    """
    with packaged(LESION_PRIOR_FILE) as path:
        return read_lesion_prior(path)


@cache
def load_model(file: str) -> LogisticModel:
    """A logistic model that comes with the package.

    Parameters
    ----------
    file : str
        `GEL_COEFFICIENTS_FILE` or `GEL_NODES_FILE`.

    Returns
    -------
    LogisticModel

    Examples
    --------
    >>> load_model(GEL_COEFFICIENTS_FILE).names
    ('size', 'own_share', 'depth_mm', 'fluid_share', 'lesion_share')
    """
    with packaged(file) as path:
        return read_model(path)


def read_model(path: Path) -> LogisticModel:
    """Read a logistic model that `save_model` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    LogisticModel
    """
    stored = json.loads(path.read_text(encoding="utf-8"))
    names, values = zip(*stored["coefficients"].items(), strict=True)
    return LogisticModel(float(stored["intercept"]), np.array(values, dtype=float), names)


def save_model(model: LogisticModel, path: Path) -> Path:
    """Write a logistic model with coefficients of three decimals.

    Parameters
    ----------
    model : LogisticModel
    path : Path
        JSON file.

    Returns
    -------
    Path
        `path`.
    """
    coefficients = {n: round(float(c), 3) for n, c in zip(model.names, model.coefficients, strict=True)}
    content = {"intercept": round(model.intercept, 3), "coefficients": coefficients}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


@cache
def load_trees(file: str) -> BoostedTrees:
    """Boosted trees that come with the package.

    Parameters
    ----------
    file : str
        `T2_BASINS_FILE`.

    Returns
    -------
    BoostedTrees

    Examples
    --------
    >>> load_trees(T2_BASINS_FILE).names[:2]
    ('peak', 'contrast')
    """
    with packaged(file) as path:
        return read_trees(path)


def read_trees(path: Path) -> BoostedTrees:
    """Read boosted trees that `save_trees` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    BoostedTrees
    """
    stored = json.loads(path.read_text(encoding="utf-8"))
    trees = stored["trees"]
    return BoostedTrees(
        float(stored["intercept"]),
        np.array([tree["features"] for tree in trees], dtype=np.intp),
        np.array([tree["thresholds"] for tree in trees], dtype=float),
        np.array([tree["leaves"] for tree in trees], dtype=float),
        tuple(stored["names"]),
    )


def save_trees(model: BoostedTrees, path: Path) -> Path:
    """Write boosted trees with numbers of four digits.

    Parameters
    ----------
    model : BoostedTrees
    path : Path
        JSON file.

    Returns
    -------
    Path
        `path`.
    """

    def digits(values: FloatArray) -> list[float]:
        return [float(f"{value:.4g}") for value in values]

    trees = [
        {"features": features.tolist(), "thresholds": digits(thresholds), "leaves": digits(leaves)}
        for features, thresholds, leaves in zip(model.features, model.thresholds, model.leaves, strict=True)
    ]
    lines = ",\n".join(f"  {json.dumps(tree)}" for tree in trees)
    head = f'"intercept": {digits(np.array([model.intercept]))[0]},\n "names": {json.dumps(model.names)}'
    path.write_text(f'{{{head},\n "trees": [\n{lines}\n ]}}\n', encoding="utf-8")
    return path
