"""Subjects of the digital reference trial. The design covers every kind of lesion course."""

from __future__ import annotations

from dataclasses import dataclass

from mri_pipeline.core.anatomy import Location
from mri_pipeline.phantom.histories import appearing, growing, re_enhancing, shrinking, stable, vanishing
from mri_pipeline.phantom.lesions import LesionPlan
from mri_pipeline.phantom.scanner import GE_MR750, PHILIPS_ACHIEVA, SIEMENS_SKYRA, ScannerModel

_PV, _DEEP = Location.PERIVENTRICULAR, Location.DEEP_WHITE_MATTER
_JC, _IT = Location.JUXTACORTICAL, Location.INFRATENTORIAL

VISITS = ("wk00", "wk04", "wk12")
"""Visits of the reference trial, as in ``protocols/demo.toml``."""


@dataclass(frozen=True)
class SubjectDesign:
    """One subject of the trial.

    Parameters
    ----------
    number : str
        The trial number, which the pipeline must hide.
    site : str
        Code of the site.
    scanner : ScannerModel
    plans : tuple of LesionPlan
        One phase for each of `VISITS`.
    missing : tuple of str
        Visits that were never uploaded.
    zipped : tuple of str
        Visits that are uploaded as a zip file instead of a folder.
    """

    number: str
    site: str
    scanner: ScannerModel
    plans: tuple[LesionPlan, ...]
    missing: tuple[str, ...] = ()
    zipped: tuple[str, ...] = ()


def _old(*sizes: tuple[Location, float]) -> tuple[LesionPlan, ...]:
    return tuple(stable(place, size, len(VISITS)) for place, size in sizes)


def active_subject() -> SubjectDesign:
    """New, persistent, ring-shaped and repeated enhancement, growth, shrinkage, disappearance and black holes.

    Returns
    -------
    SubjectDesign
    """
    n = len(VISITS)
    plans = (
        *_old((_PV, 1400), (_PV, 320), (_PV, 150), (_DEEP, 110), (_DEEP, 60), (_JC, 140), (_JC, 75), (_IT, 180)),
        stable(_PV, 520, n, black_hole=True),
        stable(_DEEP, 260, n, black_hole=True),
        re_enhancing(_DEEP, 240, n, at=(0,), enhancement=0.6),  # enhances at the first visit alone
        growing(_PV, 160, n, at=1),
        growing(_DEEP, 120, n, at=2, enhancement=0.5),
        re_enhancing(_PV, 300, n, at=(1,), enhancement=0.55),
        appearing(_PV, 420, n, at=1, enhancing=(1, 2), enhancement=0.75),  # persistent at week 12
        appearing(_DEEP, 260, n, at=1, enhancing=(1,), enhancement=0.5),
        appearing(_JC, 200, n, at=1, enhancing=(1,), enhancement=0.6),
        appearing(_PV, 900, n, at=2, enhancing=(2,), enhancement=0.8, ring=True),
        appearing(_DEEP, 170, n, at=2, enhancing=(2,), enhancement=0.45),
        appearing(_PV, 190, n, at=2),  # new on T2 without enhancement
        shrinking(_DEEP, 300, n, at=2),
        vanishing(_PV, 110, n, at=2),
    )
    return SubjectDesign("S01-001", "S01", SIEMENS_SKYRA, plans)


def interrupted_subject() -> SubjectDesign:
    """Week 4 is missing: a lesion that enhanced then is new on T2 at week 12, against week 0.

    Returns
    -------
    SubjectDesign
    """
    n = len(VISITS)
    plans = (
        *_old((_PV, 700), (_PV, 210), (_PV, 90), (_DEEP, 95), (_JC, 120), (_IT, 130)),
        stable(_PV, 340, n, black_hole=True),
        re_enhancing(_PV, 280, n, at=(0,), enhancement=0.5),
        appearing(_DEEP, 300, n, at=1, enhancing=(1,), enhancement=0.6),
        appearing(_PV, 380, n, at=2, enhancing=(2,), enhancement=0.65),
        appearing(_JC, 170, n, at=2, enhancing=(2,), enhancement=0.5),
        growing(_DEEP, 150, n, at=2),
    )
    return SubjectDesign("S01-002", "S01", GE_MR750, plans, missing=("wk04",), zipped=("wk00",))


def quiet_subject() -> SubjectDesign:
    """A stable patient on the scanner of a third manufacturer. Every reported change is false.

    Returns
    -------
    SubjectDesign
    """
    plans = (
        *_old((_PV, 900), (_PV, 260), (_DEEP, 130), (_DEEP, 70), (_JC, 110), (_IT, 150)),
        stable(_PV, 450, len(VISITS), black_hole=True),
    )
    return SubjectDesign("S01-003", "S01", PHILIPS_ACHIEVA, plans)


def reference_designs(*, with_quiet: bool = False) -> tuple[SubjectDesign, ...]:
    """Subjects of the reference trial.

    Parameters
    ----------
    with_quiet : bool
        True adds `quiet_subject`, which costs a third more time.

    Returns
    -------
    tuple of SubjectDesign
    """
    designs = (active_subject(), interrupted_subject())
    return (*designs, quiet_subject()) if with_quiet else designs
