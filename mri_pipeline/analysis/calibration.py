"""Self-calibration of a visit: simulated lesions in its own scans, and the share of them that the lesion steps find.

The visit is analysed by itself. Lesions are inserted into its prepared images. Brain mask, bias field and tissue maps
are those of the analysis. Its results enter no mask, table or derivative.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from mri_pipeline.analysis import steps
from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.calibration import (
    FAILED,
    CalibrationSettings,
    DetectionRate,
    SimulatedKind,
    VisitCalibration,
)
from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Affine, BoolArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.duplicates import scan_digest
from mri_pipeline.lesions.gel.detect import detect_gel
from mri_pipeline.lesions.insertion import (
    PlannedLesion,
    SimulatedLesion,
    Voxel,
    coverage,
    insert,
    place,
    places_of,
)
from mri_pipeline.lesions.scoring.detection import by_contrast, detection_rates, smallest_shown
from mri_pipeline.tables.columns import Row
from mri_pipeline.tables.io import csv_text

COLUMNS = (
    "visit", "kind", "contrast", "diameter_mm", "inserted", "found", "rate", "rate_low", "rate_high",
    "smallest_shown_mm", "note",
)  # fmt: skip
"""Columns of the table of detection rates."""

_LOGGER = logging.getLogger(__name__)


def acquired_voxel(scan: Grid, to_subject: Affine) -> Voxel:
    """Edges of the voxels of a scan in the space of the prepared images.

    Parameters
    ----------
    scan : Grid
        Of the scan as acquired.
    to_subject : Affine

    Returns
    -------
    ndarray, shape (3, 3)
        Edges in mm as columns.
    """
    return np.asarray(to_subject.matrix[:3, :3] @ scan.affine[:3, :3])


def require_built_in(rules: LesionRules, *, calibrate: bool) -> None:
    """Refuse to calibrate an external segmenter, which would have to run many times.

    Parameters
    ----------
    rules : LesionRules
    calibrate : bool

    Raises
    ------
    SettingsError
        If there is one and `calibrate` is True.
    """
    if calibrate and rules.segmenter is not None:
        raise SettingsError(
            f"--calibrate: expected the built-in T2 segmentation, found the segmenter {rules.segmenter.name}",
            hint="calibrate without the segmenter, or run without --calibrate",
        )


def calibrated(visit: str, calibrate: Callable[[], Sequence[DetectionRate]]) -> VisitCalibration:
    """Calibrate a visit that is analysed already. A failure does not lose its analysis.

    Parameters
    ----------
    visit : str
        Label.
    calibrate : callable
        Calls `calibrate_visit`, and reads and prepares its arguments.

    Returns
    -------
    VisitCalibration
        Without rates, and with a note, if the calibration fails or no lesion finds a place.

    Raises
    ------
    OSError
        If a disk is full or a file cannot be read, which is no fault of the scan.
    """
    try:
        rates = calibrate()
    except OSError:
        raise
    except Exception as error:
        _LOGGER.exception("visit %s: %s", visit, FAILED)
        return VisitCalibration(visit, note=f"{FAILED} ({type(error).__name__})")
    return VisitCalibration(visit, tuple(rates), "" if rates else "no place for a simulated lesion")


def calibrate_visit(
    visit: str,
    images: Mapping[Contrast, Image],
    *,
    own: BoolArray,
    brain: LabelImage,
    tissue: TissueMaps,
    rules: LesionRules,
    voxels: Mapping[Contrast, Voxel],
    settings: CalibrationSettings | None = None,
) -> list[DetectionRate]:
    """Insert lesions into the images of a visit and look for them with the lesion steps.

    The random numbers depend on the voxels of the FLAIR alone, so that the result is reproducible.

    Parameters
    ----------
    visit : str
        Label.
    images : mapping of Contrast to Image
        Prepared images, with the FLAIR normalised by `preparation.match_flairs`.
    own : ndarray of bool
        Lesions that the analysis found.
    brain : LabelImage
    tissue : TissueMaps
    rules : LesionRules
        Of the built-in segmentation.
    voxels : mapping of Contrast to Voxel
        `acquired_voxel` of each scan.
    settings : CalibrationSettings, optional

    Returns
    -------
    list of DetectionRate
        Of T2 lesions and, with T1 after contrast, of enhancing lesions. Empty if there is no place for any lesion.
    """
    settings = settings or CalibrationSettings()
    rng = np.random.default_rng(int(scan_digest(images[Contrast.FLAIR]), 16))
    scanned = brain.mask & np.all([image.data > 0 for image in images.values()], axis=0)
    white = scanned & (tissue.white_matter.data >= settings.least_white_matter) & ~own
    depth_mm = places_of(white, own, tissue, settings)
    waiting = _planned(images, rng, settings)
    found: list[tuple[PlannedLesion, bool]] = []
    for _ in range(settings.most_runs):
        placed, left = place(waiting[: settings.per_run], depth_mm, tissue, rng, settings)
        waiting = [*waiting[settings.per_run :], *left]
        if not placed:
            break
        scans = insert(images, placed, white=white, voxels=voxels, settings=settings)
        masks = _masks(scans, brain, tissue, rules)
        found += [(one.planned, _is_found(one, masks[one.planned.kind], brain.grid, settings)) for one in placed]
    return detection_rates(visit, found)


def _planned(
    images: Mapping[Contrast, Image], rng: np.random.Generator, settings: CalibrationSettings
) -> list[PlannedLesion]:
    """All lesions, in random order."""
    kinds = {SimulatedKind.T2: settings.t2_contrasts} | (
        {SimulatedKind.GEL: settings.gel_contrasts} if Contrast.T1W_GD in images else {}
    )
    lesions = [
        PlannedLesion(kind, diameter, contrast)
        for kind, contrasts in kinds.items()
        for diameter, contrast, _ in product(settings.diameters_mm, contrasts, range(settings.repeats))
    ]
    return [lesions[n] for n in rng.permutation(len(lesions))]


def _masks(
    scans: Mapping[Contrast, Image], brain: LabelImage, tissue: TissueMaps, rules: LesionRules
) -> dict[SimulatedKind, BoolArray]:
    """Masks of the lesion steps. T2 lesions are those that are found on T2, not those that enhance alone."""
    (t2,) = steps.segment_t2([scans], brains=[brain], tissue=tissue, rules=rules)
    masks = {SimulatedKind.T2: t2.mask.mask}
    if Contrast.T1W_GD in scans:
        visit = steps.normalised(scans, brain, tissue)
        masks[SimulatedKind.GEL] = detect_gel(visit, tissue, t2.mask, rules).mask.mask
    return masks


def _is_found(lesion: SimulatedLesion, mask: BoolArray, grid: Grid, settings: CalibrationSettings) -> bool:
    box, share = coverage(lesion.shape, grid, grid.affine[:3, :3])
    return bool(share[mask[box]].sum() >= settings.found_share * share.sum() > 0)


def calibration_text(calibrations: Sequence[VisitCalibration], settings: CalibrationSettings | None = None) -> str:
    """Detection rates as CSV with the `COLUMNS`.

    Parameters
    ----------
    calibrations : sequence of VisitCalibration
        Of any number of visits.
    settings : CalibrationSettings, optional

    Returns
    -------
    str
        Lesions of all contrasts have an empty contrast. `smallest_shown_mm` is that of the visit, kind and contrast of
        the row, and empty if no size is shown. A visit without rates has one row with its note.
    """
    settings = settings or CalibrationSettings()
    return csv_text(COLUMNS, [row for one in calibrations for row in _rows(one, settings)])


def _rows(calibration: VisitCalibration, settings: CalibrationSettings) -> list[Row]:
    blank: Row = dict.fromkeys(COLUMNS) | {"visit": calibration.visit}
    if not calibration.rates:
        return [blank | {"note": calibration.note}]
    rows: list[Row] = []
    for group in by_contrast(calibration.rates).values():
        smallest = smallest_shown(group, settings)
        rows += [
            blank
            | {
                "kind": rate.kind.value,
                "contrast": None if rate.contrast is None else f"{rate.contrast:g}",
                "diameter_mm": f"{rate.diameter_mm:g}",
                "inserted": rate.inserted,
                "found": rate.found,
                "rate": f"{rate.rate:.4f}",
                "rate_low": f"{rate.low:.4f}",
                "rate_high": f"{rate.high:.4f}",
                "smallest_shown_mm": None if smallest is None else f"{smallest.diameter_mm:g}",
            }
            for rate in group
        ]
    return rows


def parse_calibration(text: str) -> list[VisitCalibration]:
    """Read the text of `calibration_text`.

    Parameters
    ----------
    text : str
        A table without notes, of an earlier version, is read, too.

    Returns
    -------
    list of VisitCalibration
        In the order of the table.
    """
    visits: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        visits.setdefault(row["visit"], []).append(row)
    return [
        VisitCalibration(visit, tuple(_rate(row) for row in rows if row["kind"]), rows[0].get("note", ""))
        for visit, rows in visits.items()
    ]


def _rate(row: Mapping[str, str]) -> DetectionRate:
    return DetectionRate(
        row["visit"], SimulatedKind(row["kind"]), float(row["contrast"]) if row["contrast"] else None,
        float(row["diameter_mm"]), int(row["inserted"]), int(row["found"]), float(row["rate_low"]),
        float(row["rate_high"]),
    )  # fmt: skip


def joined(texts: Iterable[str]) -> str:
    """The tables of several visits as one.

    Parameters
    ----------
    texts : iterable of str
        Of `calibration_text`.

    Returns
    -------
    str
    """
    return calibration_text([one for text in texts for one in parse_calibration(text)])
