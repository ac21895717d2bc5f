"""Courses of lesions over the visits, defined before the lesions are placed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.anatomy import Location
from mri_pipeline.phantom.fields import generator
from mri_pipeline.phantom.lesions import LesionPlan, Phase

_SEED_HISTORIES = 31
_LOCATIONS = (
    Location.PERIVENTRICULAR,
    Location.DEEP_WHITE_MATTER,
    Location.JUXTACORTICAL,
    Location.INFRATENTORIAL,
)
_SHARES = (0.46, 0.26, 0.18, 0.10)
_NONE = Phase(0.0)


def stable(location: Location, volume_mm3: float, visits: int, *, black_hole: bool = False) -> LesionPlan:
    """The same at every visit.

    Parameters
    ----------
    location : Location
    volume_mm3 : float
    visits : int
        Number of visits.
    black_hole : bool
        True if it is a black hole throughout.

    Returns
    -------
    LesionPlan
    """
    return LesionPlan(location, (Phase(volume_mm3, black_hole=black_hole),) * visits)


def appearing(
    location: Location,
    volume_mm3: float,
    visits: int,
    *,
    at: int,
    enhancing: tuple[int, ...] = (),
    enhancement: float = 0.5,
    ring: bool = False,
    black_hole_from: int | None = None,
) -> LesionPlan:
    """Absent before visit `at` (0: present from the start), largest at that visit, then three quarters of that volume.

    Parameters
    ----------
    location : Location
    volume_mm3 : float
        At visit `at`.
    visits : int
        Number of visits.
    at : int
        Number of the first visit with the lesion, from 0.
    enhancing : tuple of int
        Visits at which it takes up contrast, by `enhancement` at the first and four fifths of it later.
    enhancement : float
        Signal above white matter on post-contrast T1, as a share of it.
    ring : bool
        True if the enhancement spares the centre.
    black_hole_from : int, optional
        Visit from which its core is dark on T1.

    Returns
    -------
    LesionPlan
    """
    phases = []
    for visit in range(visits):
        if visit < at:
            phases.append(_NONE)
            continue
        age = visit - at
        gain = (enhancement if visit == min(enhancing) else 0.8 * enhancement) if visit in enhancing else 0.0
        dark = black_hole_from is not None and visit >= black_hole_from
        size = volume_mm3 * (1.0, 0.85, 0.75)[min(age, 2)]
        phases.append(Phase(size, gain, ring and gain > 0, dark, acute=age == 0))
    return LesionPlan(location, tuple(phases))


def growing(
    location: Location,
    volume_mm3: float,
    visits: int,
    *,
    at: int,
    factor: float = 2.4,
    enhancement: float = 0.0,
) -> LesionPlan:
    """Stable, then `factor` times as large from visit `at` on, enhancing at that visit by `enhancement` if above 0.

    2.4 times the volume is about 1.8 times the area: beyond the rule's 45 %, and beyond measurement error.

    Parameters
    ----------
    location : Location
    volume_mm3 : float
        Before it grows.
    visits : int
        Number of visits.
    at : int
        Number of the visit, from 0.
    factor : float
        Of the volume.
    enhancement : float
        Signal above white matter on post-contrast T1, as a share of it.

    Returns
    -------
    LesionPlan
    """
    before, after = Phase(volume_mm3), Phase(volume_mm3 * factor)
    phases = [before if visit < at else after for visit in range(visits)]
    phases[at] = Phase(volume_mm3 * factor, enhancement, acute=True)
    return LesionPlan(location, tuple(phases))


def shrinking(location: Location, volume_mm3: float, visits: int, *, at: int, factor: float = 0.45) -> LesionPlan:
    """Stable, then smaller from visit `at` on.

    Parameters
    ----------
    location, volume_mm3, visits, at, factor
        As in `growing`, with a factor below 1.

    Returns
    -------
    LesionPlan
    """
    return LesionPlan(location, tuple(Phase(volume_mm3 * (1.0 if v < at else factor)) for v in range(visits)))


def vanishing(location: Location, volume_mm3: float, visits: int, *, at: int) -> LesionPlan:
    """Stable, then gone from visit `at` on.

    Parameters
    ----------
    location, volume_mm3, visits, at
        As in `growing`.

    Returns
    -------
    LesionPlan
    """
    return LesionPlan(location, tuple(Phase(volume_mm3) if v < at else _NONE for v in range(visits)))


def re_enhancing(
    location: Location, volume_mm3: float, visits: int, *, at: tuple[int, ...], enhancement: float = 0.5
) -> LesionPlan:
    """An old lesion of constant size that takes up contrast again at some visits.

    Parameters
    ----------
    location, volume_mm3, visits
        As in `stable`.
    at : tuple of int
        Numbers of the visits at which it enhances, from 0.
    enhancement : float
        Signal above white matter on post-contrast T1, as a share of it.

    Returns
    -------
    LesionPlan
    """
    return LesionPlan(location, tuple(Phase(volume_mm3, enhancement if v in at else 0.0) for v in range(visits)))


@dataclass(frozen=True)
class Activity:
    """Disease activity of a random subject.

    Parameters
    ----------
    baseline_lesions : float
        Mean number at the first visit.
    new_per_visit : float
        Mean number of new lesions at each later visit (negative binomial, dispersion 1).
    enhancing_share : float
        Share of new lesions that enhance when they appear.
    changing_share : float
        Chance per visit that an old lesion grows, shrinks or enhances again.
    smallest_new_mm3 : float
        65 mm³ is a 5 mm sphere.
    """

    baseline_lesions: float = 16.0
    new_per_visit: float = 1.2
    enhancing_share: float = 0.8
    changing_share: float = 0.03
    smallest_new_mm3: float = 65.0


def _location(rng: np.random.Generator) -> Location:
    return _LOCATIONS[int(rng.choice(len(_LOCATIONS), p=_SHARES))]


def _size(rng: np.random.Generator, location: Location, *, median: float, low: float, high: float) -> float:
    ceiling = {Location.INFRATENTORIAL: 350.0, Location.JUXTACORTICAL: 500.0}.get(location, high)
    return float(np.clip(rng.lognormal(np.log(median), 0.95), low, min(high, ceiling)))


def _old_lesion(rng: np.random.Generator, visits: int, activity: Activity) -> LesionPlan:
    place = _location(rng)
    size = _size(rng, place, median=100.0, low=25.0, high=2500.0)
    for at in range(1, visits):
        if rng.random() < activity.changing_share:
            kind = rng.choice(["grow", "shrink", "vanish", "enhance"], p=[0.4, 0.2, 0.1, 0.3])
            if kind == "grow":
                return growing(
                    place, min(max(size, 50.0), 600.0), visits, at=at, enhancement=float(rng.choice([0.0, 0.5]))
                )
            if kind == "shrink":
                return shrinking(place, max(size, 90.0), visits, at=at)
            if kind == "vanish":
                return vanishing(place, min(size, 120.0), visits, at=at)
            return re_enhancing(
                place, max(size, 100.0), visits, at=(at,), enhancement=float(rng.uniform(0.35, 0.8))
            )
    dark = size > 120.0 and rng.random() < 0.35
    if size > 90.0 and rng.random() < 0.12:  # enhancing at the first visit
        return re_enhancing(place, size, visits, at=(0,), enhancement=float(rng.uniform(0.35, 0.8)))
    return stable(place, size, visits, black_hole=bool(dark))


def _new_lesion(rng: np.random.Generator, visits: int, at: int, activity: Activity) -> LesionPlan:
    place = _location(rng)
    size = _size(rng, place, median=160.0, low=max(activity.smallest_new_mm3, 20.0) / 0.75, high=1500.0)
    if rng.random() >= activity.enhancing_share:
        return appearing(place, size, visits, at=at)
    lasting = (at, at + 1) if at + 1 < visits and rng.random() < 0.2 else (at,)
    ring = size > 400.0 and rng.random() < 0.5
    dark = at + 2 if size > 200.0 and rng.random() < 0.3 else None
    gain = float(rng.uniform(0.35, 0.9))
    return appearing(
        place, size, visits, at=at, enhancing=lasting, enhancement=gain, ring=ring, black_hole_from=dark
    )


def random_histories(seed: int, visits: int, activity: Activity | None = None) -> tuple[LesionPlan, ...]:
    """Plans for the lesions of one subject over `visits` visits.

    Parameters
    ----------
    seed : int
        Of the person; 0 or more.
    visits : int
        Number of visits.
    activity : Activity, optional

    Returns
    -------
    tuple of LesionPlan
        At least one.

    Examples
    --------
    >>> plans = random_histories(7, 3, Activity(baseline_lesions=5))
    >>> {len(plan.phases) for plan in plans}
    {3}
    """
    activity = activity or Activity()
    rng = generator(seed, _SEED_HISTORIES)
    plans = [
        _old_lesion(rng, visits, activity) for _ in range(max(1, int(rng.poisson(activity.baseline_lesions))))
    ]
    for at in range(1, visits):
        count = int(rng.poisson(rng.exponential(activity.new_per_visit)))
        plans += [_new_lesion(rng, visits, at, activity) for _ in range(count)]
    return tuple(plans)
