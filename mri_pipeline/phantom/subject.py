"""One simulated patient: a head, lesions with histories, and scans of any visit, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.acquire import Quality, acquire, rigid
from mri_pipeline.phantom.anatomy import SHAPE, Anatomy, AnatomyTraits, Tissue
from mri_pipeline.phantom.contrast import PERIVENTRICULAR_CAP, lesion_signal, tissue_signals
from mri_pipeline.phantom.families import families
from mri_pipeline.phantom.fields import Float32Array, generator, smooth_field
from mri_pipeline.phantom.histories import Activity, random_histories
from mri_pipeline.phantom.lesions import Lesion, LesionPlan
from mri_pipeline.phantom.placing import place_lesions
from mri_pipeline.phantom.scanner import SIEMENS_SKYRA, Dimension, Prescription, ScannerModel, acquisitions
from mri_pipeline.phantom.tissues import random_anatomy

_SEED_TEXTURE, _SEED_SCAN = 41, 42


@dataclass(frozen=True, eq=False)
class SimulatedSubject:
    """A simulated patient with known lesions.

    Parameters
    ----------
    seed : int
    anatomy : Anatomy
    lesions : tuple of Lesion
        Each has one phase (volume and enhancement) for every visit.
    visits : tuple of str
        Labels of the planned visits.
    missing : frozenset of str
        Planned visits that were not scanned; the lesions change meanwhile.
    """

    seed: int
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    visits: tuple[str, ...]
    missing: frozenset[str] = frozenset()

    def index(self, visit: str) -> int:
        """Number of a visit, from 0.

        Parameters
        ----------
        visit : str
            Label of the visit.

        Returns
        -------
        int

        Raises
        ------
        UsageError
            If the subject has no such visit.
        """
        if visit not in self.visits:
            raise UsageError(f"expected a visit of this subject ({', '.join(self.visits)}), found {visit!r}")
        return self.visits.index(visit)


@dataclass(frozen=True, eq=False)
class VisitScan:
    """Images of one visit, and the position of the head in the scanner.

    Parameters
    ----------
    images : mapping of Contrast to Image
        In scanner space, each on its own grid.
    acquisitions : mapping of Contrast to Prescription
    subject_to_scanner : mapping of Contrast to Affine
        The true pose during each series: differs between visits, and slightly between series.
    """

    images: Mapping[Contrast, Image]
    acquisitions: Mapping[Contrast, Prescription]
    subject_to_scanner: Mapping[Contrast, Affine]


def simulate_subject(
    seed: int,
    visits: Sequence[str] = ("wk00", "wk04", "wk12"),
    *,
    plans: tuple[LesionPlan, ...] | None = None,
    missing: Sequence[str] = (),
    traits: AnatomyTraits | None = None,
    activity: Activity | None = None,
) -> SimulatedSubject:
    """Simulate a patient with individual anatomy and lesions.

    Parameters
    ----------
    seed : int
        Same seed, same patient.
    visits : sequence of str
    plans : tuple of LesionPlan, optional
        Default: `random_histories` with `activity`. Empty: a healthy volunteer.
    missing : sequence of str
        Visits that are not scanned.
    traits : AnatomyTraits, optional
        Default: those of `seed`.
    activity : Activity, optional
        For random plans.

    Returns
    -------
    SimulatedSubject

    Raises
    ------
    AnalysisError
        If a lesion finds no place.
    UsageError
        If the plans do not have one phase per visit.
    """
    if plans is None:
        plans = random_histories(seed, len(visits), activity)
    if any(len(plan.phases) != len(visits) for plan in plans):
        raise UsageError(f"expected lesion plans with {len(visits)} phases, one per visit")
    anatomy = random_anatomy(seed, traits)
    lesions = place_lesions(anatomy, plans, seed=seed) if plans else ()
    return SimulatedSubject(seed, anatomy, lesions, tuple(visits), frozenset(missing))


def tissue_texture(anatomy: Anatomy) -> Float32Array:
    """Random variation of the tissue signal within a head. It is the same at every visit.

    It is the sum of two smooth random fields (`smooth_field`): a fine one (sigma 3 mm) and a coarse one (sigma 14 mm).

    Parameters
    ----------
    anatomy : Anatomy
        Its seed determines the fields.

    Returns
    -------
    ndarray of float32, shape `SHAPE`
        Change of the T2w signal as a fraction of the signal of the tissue: 0.02 is 2 % brighter. `head_signal` scales
        it for other contrasts.
    """
    rng = generator(anatomy.seed, _SEED_TEXTURE)
    texture = 0.018 * smooth_field(rng, SHAPE, sigma=3.0) + 0.025 * smooth_field(rng, SHAPE, sigma=14.0)
    return texture.astype(np.float32)


_TEXTURE_GAIN: Mapping[Contrast, float] = {
    Contrast.T1W: -0.5, Contrast.T1W_GD: -0.5, Contrast.T2W: 1.0, Contrast.FLAIR: 0.9, Contrast.PDW: 0.5,
}  # fmt: skip


def head_signal(
    subject: SimulatedSubject, visit: str, acquisition: Prescription, texture: Float32Array | None = None
) -> Image:
    """Signal of the head at 1 mm before image formation.

    Parameters
    ----------
    subject : SimulatedSubject
    visit : str
        Label of the visit.
    acquisition : Prescription
        Contrast and technique are used.
    texture : ndarray, shape `SHAPE`, optional
        Default: `tissue_texture`.

    Returns
    -------
    Image
        White matter is 1.

    Raises
    ------
    UsageError
        If the subject has no such visit.
    """
    anatomy, contrast = subject.anatomy, acquisition.contrast
    signals = tissue_signals(contrast, acquisition.technique)
    data = np.zeros(anatomy.grid.shape, dtype=np.float32)
    for tissue, fraction in anatomy.fractions.items():
        data += np.float32(signals[tissue] / 255.0) * fraction
    texture = tissue_texture(anatomy) if texture is None else texture
    data *= 1.0 + np.float32(_TEXTURE_GAIN[contrast]) * texture
    near = np.nonzero(anatomy.ventricle_distance_mm < 4.0)
    white = anatomy.fractions[Tissue.WHITE][near] / np.float32(255.0)
    lining = np.exp(-((anatomy.ventricle_distance_mm[near] / 1.8) ** 2))
    data[near] += np.float32(PERIVENTRICULAR_CAP[contrast]) * lining * white
    index = subject.index(visit)
    for lesion in subject.lesions:
        _insert(data, lesion, index, acquisition, subject.seed)
    return Image(data, anatomy.grid)


def _insert(data: Float32Array, lesion: Lesion, visit: int, acquisition: Prescription, seed: int) -> None:
    """Replace tissue by one lesion, in place."""
    phase = lesion.plan.phases[visit]
    if phase.volume_mm3 <= 0:
        return
    level = lesion_signal(acquisition.contrast, acquisition.technique)
    mottle = 1.0 + 0.04 * smooth_field(
        generator(seed, lesion.lesion_id, _SEED_TEXTURE), lesion.level.shape, sigma=2.0
    )
    signal = (level.acute if phase.acute else level.chronic) * mottle
    if phase.black_hole:
        core = lesion.soft(0.85 * phase.volume_mm3, edge_mm=1.2)
        signal = signal * (1.0 - core) + level.black_hole * mottle * core
    if acquisition.contrast is Contrast.T1W_GD:
        uptake = lesion.enhancing_soft(visit)
        signal = signal * (1.0 - uptake) + (1.0 + phase.enhancement) * mottle * uptake
    share = lesion.soft(phase.volume_mm3)
    data[lesion.box] = data[lesion.box] * (1.0 - share) + signal.astype(np.float32) * share


def _random_rigid(rng: np.random.Generator, degrees: float, mm: float) -> Affine:
    turn, shift = rng.normal(0.0, degrees, 3), rng.normal(0.0, mm, 3)
    x, y, z = (float(v) for v in np.clip(turn, -3 * degrees, 3 * degrees))
    a, b, c = (float(v) for v in np.clip(shift, -3 * mm, 3 * mm))
    return rigid((x, y, z), (a, b, c))


def simulate_visit(
    subject: SimulatedSubject,
    visit: str,
    *,
    scanner: ScannerModel = SIEMENS_SKYRA,
    dimension: Dimension = Dimension.TWO_D,
    series: Mapping[Contrast, Prescription] | None = None,
    quality: Quality | None = None,
    seed: int = 0,
) -> VisitScan:
    """Scan a patient.

    Parameters
    ----------
    subject : SimulatedSubject
    visit : str
        Label of the visit.
    scanner : ScannerModel
    dimension : Dimension
    series : mapping of Contrast to Prescription, optional
        Default: everything the scanner runs in `dimension`.
    quality : Quality, optional
        Default: signal-to-noise by field strength, usual coil and no motion.
    seed : int
        Of the scanning session (pose, noise, coil), combined with the label of the visit.

    Returns
    -------
    VisitScan

    Raises
    ------
    UsageError
        If the visit is unknown or missing.
    """
    index = subject.index(visit)
    if visit in subject.missing:
        raise UsageError(f"expected a scanned visit, found {visit!r}, which is missing")
    series = acquisitions(scanner, dimension) if series is None else series
    quality = quality or Quality(snr=9.0 + 8.0 * scanner.field_strength_t)
    rng = generator(subject.seed, seed, index, _SEED_SCAN)
    lying = _random_rigid(rng, 3.5, 4.0)
    prescription = lying @ _random_rigid(rng, 2.0, 2.0)  # the operator aligns slices with the brain, nearly
    texture = tissue_texture(subject.anatomy)
    images, poses = {}, {}
    for contrast, acquisition in series.items():
        pose = lying @ _random_rigid(rng, 0.35, 0.4)  # patients move a little between series
        grid = acquisition.grid(prescription)
        scale = scanner.white_matter_level * float(rng.uniform(0.85, 1.15))
        images[contrast] = acquire(
            head_signal(subject, visit, acquisition, texture), grid, pose,
            slice_thickness_mm=acquisition.thickness_mm, quality=quality, scale=scale, rng=rng,
        )  # fmt: skip
        poses[contrast] = pose
    return VisitScan(images, dict(series), poses)


def truth_masks(subject: SimulatedSubject, visit: str) -> dict[str, LabelImage]:
    """Lesion numbers at one visit in the subject's space: ``t2``, ``gel`` and ``bh``.

    Lesions that have grown together bear one number (`families`).

    Parameters
    ----------
    subject : SimulatedSubject
    visit : str
        Label of the visit.

    Returns
    -------
    dict of str to LabelImage
        On the grid of the head; empty images if there is no lesion.

    Raises
    ------
    UsageError
        If the subject has no such visit.
    """
    index = subject.index(visit)
    data = {name: np.zeros(subject.anatomy.grid.shape, dtype=np.int16) for name in ("t2", "gel", "bh")}
    for family in families(subject.lesions):
        gel, holes = family.gel_mask(index), family.black_hole_mask(index)
        for unit in family.units(index):
            for name, mask in (("t2", unit.mask), ("gel", gel & unit.mask), ("bh", holes & unit.mask)):
                data[name][family.box][mask] = unit.lesion_id
    return {name: LabelImage(labels, subject.anatomy.grid) for name, labels in data.items()}
