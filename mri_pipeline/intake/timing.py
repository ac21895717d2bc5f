"""Limits of the acquisition parameters by which a contrast is recognised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TimingLimits:
    """Limits of TR, TE, TI (ms) and flip angle (degrees).

    Between the ranges of clinical brain protocols at 1.5 and 3 T (Bernstein, King and Zhou, *Handbook of MRI Pulse
    Sequences*, 2004; MAGNIMS-CMSC-NAIMS 2021, Wattjes et al., Lancet Neurol 20:653).

    Parameters
    ----------
    fast_te_ms, fast_tr_ms, fast_flip_deg : float
        A sequence of unknown type is a gradient echo if its TE, and its TR or its flip angle, are below these values:
        too fast for a spin echo.
    usual_flip_deg : float
        Flip angle of a sequence that does not state it.
    susceptibility_te_ms : float
        A gradient echo with a longer TE is susceptibility-weighted.
    second_inversion_ms : float
        A gradient echo with a longer TI has little T1 weighting: the second inversion of MP2RAGE.
    t1_tr_ms, t1_te_ms : float
        A spin echo with a shorter TR and at most this TE is T1-weighted.
    long_tr_ms, long_te_ms : float
        Minimum TR and TE of a FLAIR.
    t2_te_ms : float
        Minimum TE of a T2-weighted spin echo.
    between_te_ms : tuple of float
        From the first up to the second TE the description decides between proton density and T2.
    t1_flair_tr_ms : float
        A spin echo without TI that is called T1 FLAIR is one with a shorter TR: its other parameters are those of
        proton density.
    flair_ti_ms : tuple of float
        TI of a FLAIR, from and to: it nulls CSF.
    short_ti_ms, short_ti_tr_ms : float
        A shorter TI, with at least this TR, nulls fat (STIR).
    t1_ti_ms, t1_ti_te_ms : tuple of float, float
        TI, from and to, and maximum TE of a T1-weighted inversion recovery.
    flow_tr_ms, flow_te_ms : tuple of float, float
        TR, from and to, and upper limit of TE of a time of flight.
    balanced_tr_ms, balanced_flip_deg : float
        Upper limit of TR and minimum flip angle of a balanced steady state.
    """

    fast_te_ms: float = 7
    fast_tr_ms: float = 100
    fast_flip_deg: float = 30
    usual_flip_deg: float = 90
    susceptibility_te_ms: float = 12
    second_inversion_ms: float = 1800
    t1_tr_ms: float = 1800
    t1_te_ms: float = 35
    long_tr_ms: float = 3000
    long_te_ms: float = 60
    t2_te_ms: float = 50
    between_te_ms: tuple[float, float] = (40, 60)
    t1_flair_tr_ms: float = 3500
    flair_ti_ms: tuple[float, float] = (1200, 3500)
    short_ti_ms: float = 300
    short_ti_tr_ms: float = 1500
    t1_ti_ms: tuple[float, float] = (300, 1300)
    t1_ti_te_ms: float = 40
    flow_tr_ms: tuple[float, float] = (15, 60)
    flow_te_ms: float = 10
    balanced_tr_ms: float = 15
    balanced_flip_deg: float = 30


LIMITS: Final = TimingLimits()
"""The limits that the program uses."""
