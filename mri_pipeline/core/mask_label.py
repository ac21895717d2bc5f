"""Names of the masks. The command line reads them, so this module imports no other one."""

from __future__ import annotations

from enum import StrEnum


class MaskLabel(StrEnum):
    """The masks of the derivative dataset; the value is the BIDS ``label-`` entity."""

    T2_LESION = "T2lesion"
    GEL = "GEL"
    BLACK_HOLE = "BH"
    NEW_T2 = "newT2"
    ENLARGING_T2 = "enlargingT2"
    T2_INCREASE = "T2increase"
    T2_DECREASE = "T2decrease"
