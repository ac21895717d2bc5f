"""Proposed changes of T2 lesions since the confirmed read of the previous visit, for a serial reading."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mri_pipeline.analysis.reads.check import number_counted, number_parts
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import T2State
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.lesions.tracking.compare import compare_t2
from mri_pipeline.reading.items import LesionKind


def proposed_changes(previous: LabelImage, proposed: LabelImage, rules: LesionRules) -> Mapping[int, T2State]:
    """State of each proposed T2 lesion relative to the confirmed lesions of the previous visit.

    The masks alone decide, by the rule of the counts between confirmed reads.

    Parameters
    ----------
    previous : LabelImage
        Confirmed T2 lesions of the previous visit, 0 and 1.
    proposed : LabelImage
        Numbered T2 lesions of the present visit on the same grid.
    rules : LesionRules

    Returns
    -------
    mapping of int to T2State
        By number.
    """
    now = LabelImage(proposed.data.astype(np.int32), proposed.grid)
    return compare_t2(
        number_counted(LesionKind.T2, previous, rules),
        now,
        reference_parts=number_parts(LesionKind.T2, previous, rules),
        followup_parts=number_parts(LesionKind.T2, now, rules),
        rules=rules,
        masks_decide=True,
    ).states
