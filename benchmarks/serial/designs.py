"""Subjects of the serial benchmark: lesions, visits and scanners.

Everything is drawn from the seed of the subject: diameters from 3 to 20 mm (a third below 5 mm, a fifth from 10 mm,
log-uniform within these bands) and the course of every lesion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.simulated import merging, splitting
from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.phantom.histories import (
    appearing,
    growing,
    re_enhancing,
    shrinking,
    stable,
    vanishing,
)
from mri_pipeline.phantom.lesions import LesionPlan
from mri_pipeline.phantom.scanner import GE_MR750, PHILIPS_ACHIEVA, SIEMENS_SKYRA, Dimension, ScannerModel
from mri_pipeline.phantom.subject import SimulatedSubject, simulate_subject

VISITS = ("wk00", "wk04", "wk12", "wk24", "wk28", "wk36", "wk48")
_N = len(VISITS)
BANDS_MM = ((3.0, 5.0), (5.0, 10.0), (10.0, 20.0))
_BAND_SHARES = (0.35, 0.45, 0.20)
_LASTING_SHARE = 0.75  # `appearing` settles to this share of its volume
_SMALLEST_MM = 3.1  # a sphere of 14 mm³ has 3.0 mm; a stable lesion must stay above the minimum volume
_CEILINGS_MM3 = {
    Location.INFRATENTORIAL: 350.0,
    Location.JUXTACORTICAL: 500.0,
    Location.DEEP_WHITE_MATTER: 1200.0,
    Location.PERIVENTRICULAR: np.inf,
}
_LOCATION_SHARES = (0.10, 0.18, 0.26, 0.46)
_SEED = 70_100
_ATTEMPTS = 20
_SEED_PLANS = 61


@dataclass(frozen=True)
class Design:
    """One subject.

    Parameters
    ----------
    number : str
        BIDS label.
    quiet : bool
        True: old lesions only, so that every change found is false.
    missing, rescanned : tuple of str
        Visits that are not scanned; visits with a repeated scan, which is the one analysed.
    scanners : tuple of ScannerModel
        One for each visit.
    """

    number: str
    seed: int
    dimension: Dimension = Dimension.TWO_D
    quiet: bool = False
    missing: tuple[str, ...] = ()
    rescanned: tuple[str, ...] = ()
    scanners: tuple[ScannerModel, ...] = (SIEMENS_SKYRA,) * _N


def _volume(diameter_mm: float) -> float:
    return float(np.pi / 6.0 * diameter_mm**3)


def _draw(rng: np.random.Generator, low_mm: float = _SMALLEST_MM, high_mm: float = 20.0) -> tuple[Location, float]:
    """Draw a location and a volume (mm³)."""
    while True:
        low, high = BANDS_MM[int(rng.choice(len(BANDS_MM), p=_BAND_SHARES))]
        diameter = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if low_mm <= diameter <= high_mm:
            break
    volume = _volume(diameter)
    places = [p for p, ceiling in _CEILINGS_MM3.items() if volume <= ceiling]
    shares = np.array([_LOCATION_SHARES[list(_CEILINGS_MM3).index(p)] for p in places])
    return places[int(rng.choice(len(places), p=shares / shares.sum()))], volume


def _old(rng: np.random.Generator) -> LesionPlan:
    place, volume = _draw(rng)
    return stable(place, volume, _N, black_hole=bool(volume > 120.0 and rng.random() < 0.3))


def _new(rng: np.random.Generator, at: int) -> LesionPlan:
    """A new lesion that enhances never, once, at two consecutive visits, or again later."""
    place, volume = _draw(rng, low_mm=_SMALLEST_MM / _LASTING_SHARE ** (1 / 3))
    kind = rng.choice(["never", "once", "persistently", "again"], p=[0.25, 0.45, 0.15, 0.15])
    visits: tuple[int, ...] = () if kind == "never" else (at,)
    if kind == "persistently" and at + 1 < _N:
        visits = (at, at + 1)
    elif kind == "again" and at + 2 < _N:
        visits = (at, int(rng.integers(at + 2, _N)))
    ring = volume > 400.0 and rng.random() < 0.5
    gain = float(rng.uniform(0.35, 0.9))
    hole = at + 2 if volume > 200.0 and rng.random() < 0.3 else None
    return appearing(
        place, volume, _N, at=at, enhancing=visits, enhancement=gain, ring=bool(ring), black_hole_from=hole
    )


def _changing(rng: np.random.Generator) -> list[LesionPlan]:
    """One old lesion of every course."""

    def at() -> int:
        return int(rng.integers(1, _N))

    def gain() -> float:
        return float(rng.uniform(0.35, 0.9))

    first = int(rng.integers(1, _N - 2))
    return [
        growing(*_draw(rng, high_mm=12.0), _N, at=at(), enhancement=float(rng.choice([0.0, gain()]))),
        growing(*_draw(rng, high_mm=12.0), _N, at=at()),
        # the lesion remains above the minimum volume after shrinking
        shrinking(*_draw(rng, low_mm=_SMALLEST_MM / 0.45 ** (1 / 3)), _N, at=at()),
        vanishing(*_draw(rng, high_mm=8.0), _N, at=at()),
        re_enhancing(*_draw(rng, low_mm=3.5), _N, at=(at(),), enhancement=gain()),
        re_enhancing(
            *_draw(rng, low_mm=3.5), _N, at=(first, int(rng.integers(first + 2, _N))), enhancement=gain()
        ),
        re_enhancing(*_draw(rng, low_mm=3.5), _N, at=(first, first + 1), enhancement=gain()),
        re_enhancing(*_draw(rng, low_mm=3.5), _N, at=(0,), enhancement=gain()),
    ]


def _neighbours(rng: np.random.Generator) -> list[LesionPlan]:
    """Two lesions of 5 to 8 mm that merge, and one that splits into two."""
    places = (Location.PERIVENTRICULAR, Location.DEEP_WHITE_MATTER)

    def drawn() -> tuple[Location, float]:
        return places[int(rng.integers(2))], _volume(float(rng.uniform(5.0, 6.5)))

    def at() -> int:
        return int(rng.integers(1, _N))

    gain = float(rng.choice([0.0, rng.uniform(0.35, 0.9)]))
    return [*merging(*drawn(), _N, at=at(), enhancement=gain), *splitting(*drawn(), _N, at=at())]


def plans(rng: np.random.Generator, *, quiet: bool) -> tuple[LesionPlan, ...]:
    """Courses of the lesions of one subject."""
    found = [_old(rng) for _ in range(int(rng.integers(8, 15)))]
    if quiet:
        return tuple(found)
    found += _changing(rng) + _neighbours(rng)
    for at in range(1, _N):
        # overdispersed, as counts of patients are
        found += [_new(rng, at) for _ in range(int(rng.poisson(rng.exponential(1.6))))]
    return tuple(found)


def simulate(design: Design, *, say: Callable[[str], None] = print) -> SimulatedSubject:
    """Simulate a subject with the first drawn set of lesions that fits into its brain."""
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([design.seed, _SEED_PLANS, attempt])
        try:
            return simulate_subject(
                design.seed, VISITS, plans=plans(rng, quiet=design.quiet), missing=design.missing
            )
        except AnalysisError as error:
            say(f"{design.number}: {error}; other lesions are drawn")
    raise AnalysisError(f"expected room for the lesions of {design.number}, found none in {_ATTEMPTS} draws")


def _changed(first: ScannerModel, then: ScannerModel, at: int) -> tuple[ScannerModel, ...]:
    return (first,) * at + (then,) * (_N - at)


def designs() -> tuple[Design, ...]:
    """Six quiet and sixteen active subjects in 2D, one quiet and two active ones in 3D."""
    siemens, ge, philips = SIEMENS_SKYRA, GE_MR750, PHILIPS_ACHIEVA
    quiet = [
        Design("q01", 1, quiet=True),
        Design("q02", 2, quiet=True, scanners=(ge,) * _N, rescanned=("wk12",)),
        Design("q03", 3, quiet=True, scanners=(philips,) * _N),
        Design("q04", 4, quiet=True, scanners=_changed(siemens, philips, 3)),
        Design("q05", 5, quiet=True, scanners=_changed(ge, siemens, 4), missing=("wk12",)),
        Design("q06", 6, quiet=True, scanners=(ge,) * _N, rescanned=("wk04", "wk36")),
    ]
    active = [
        Design("a01", 11),
        Design("a02", 12, scanners=(ge,) * _N),
        Design("a03", 13, scanners=(philips,) * _N),
        Design("a04", 14, scanners=_changed(siemens, philips, 3), rescanned=("wk24",)),
        Design("a05", 15, missing=("wk28", "wk36", "wk48")),  # dropped out
        Design("a06", 16, scanners=(ge,) * _N, missing=("wk12",)),
        Design("a07", 17, scanners=(philips,) * _N, rescanned=("wk04", "wk28")),
        Design("a08", 18, scanners=_changed(philips, siemens, 4)),
        Design("a09", 19, scanners=(ge,) * _N),
        Design("a10", 20, missing=("wk36", "wk48")),
        Design("a11", 21, scanners=_changed(ge, philips, 2)),
        Design("a12", 22, missing=("wk04", "wk28"), rescanned=("wk36",)),
        Design("a13", 23, scanners=(philips,) * _N, missing=("wk48",)),
        Design("a14", 24, scanners=_changed(ge, siemens, 5), missing=("wk24",)),
        Design("a15", 25),
        Design("a16", 26, scanners=(ge,) * _N, rescanned=("wk00",)),
    ]
    three = [
        Design("q07", 31, Dimension.THREE_D, quiet=True),
        Design("a17", 32, Dimension.THREE_D, scanners=_changed(siemens, ge, 4)),
        Design("a18", 33, Dimension.THREE_D, scanners=(philips,) * _N, missing=("wk12",)),
    ]
    return tuple(
        Design(d.number, _SEED + d.seed, d.dimension, d.quiet, d.missing, d.rescanned, d.scanners)
        for d in (*quiet, *active, *three)
    )
