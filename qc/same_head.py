"""Whether the FLAIR of a visit shows the head of the subject's other visits, and not its mirror image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.register import register_rigid
from qc.change import CHANGE
from qc.findings import Finding

SAME_HEAD: Final = f"{CHANGE}same_head"
"""Rule of the head of the subject's other visits."""

_CHECK_SIDES: Final = (
    "check left and right of both visits by the orientation markers, and send the original series of the wrong one"
)

AGREEMENT: Final = "head_agreement"
"""Name of `HeadMatch.agreement` among the measures of the FLAIR."""


_SURE: Final = 0.7
"""Agreement from which the mirror image is not compared, and from which it is that of the same head. Nine real
pairs of one head have 0.82 or more, and 0.34 to 0.59 with one of them mirrored; mirror images of other heads have 0.42
or less (4 pairs)."""


@dataclass(frozen=True)
class HeadMatch:
    """The FLAIR of a visit registered to that of another visit of the subject.

    Parameters
    ----------
    visit : str
        Label of the other visit.
    agreement : float
        `mri_pipeline.images.register.Registration.quality`.
    mirrored : float or None
        The same for the FLAIR with left and right exchanged; None if the two visits agree without it.
    """

    visit: str
    agreement: float
    mirrored: float | None = None


def match_head(flair: Image, other: Image, visit: str) -> HeadMatch:
    """Register the FLAIR of a visit to that of another visit. Both have to show a head.

    Parameters
    ----------
    flair, other : Image
        In any orientation.
    visit : str
        Label of the other visit.

    Returns
    -------
    HeadMatch
    """
    agreement = register_rigid(other, flair, intra_modal=True).quality
    if agreement >= _SURE:
        return HeadMatch(visit, agreement)
    upright = flair.reoriented("RAS")
    mirror_image = Image(np.ascontiguousarray(upright.data[::-1]), upright.grid)
    return HeadMatch(visit, agreement, register_rigid(other, mirror_image, intra_modal=True).quality)


def judge_head(match: HeadMatch, limit: QualityLimit) -> Finding:
    """Judge whether two visits show the same head.

    Parameters
    ----------
    match : HeadMatch
    limit : QualityLimit

    Returns
    -------
    Finding
        Met or violated. It does not tell which of the two visits shows another head or is mirrored. A mirrored head is
        a violation whatever its agreement; its finding has no value and no limit.
    """
    if match.mirrored is not None and match.mirrored >= _SURE:
        message = (
            f"{Contrast.FLAIR.value}: expected left and right as at visit {match.visit}, found a better agreement of "
            f"the mirrored image ({match.mirrored:.2f} instead of {match.agreement:.2f}): one of the two visits may be "
            "mirrored"
        )
        return Finding(SAME_HEAD, limit.action, message, Contrast.FLAIR, to_do=_CHECK_SIDES)
    message = (
        f"{Contrast.FLAIR.value}: expected the head of visit {match.visit} with an agreement of at least "
        f"{limit.value:g}, found {match.agreement:.2f}"
    )
    action = None
    if match.agreement < limit.value:
        action, message = limit.action, f"{message}: one of the two visits may show another head"
    return Finding(
        SAME_HEAD, action, message, Contrast.FLAIR, round(match.agreement, 3), limit.value, "", limit.ask
    )


def not_compared(reason: str) -> Finding:
    """The note that the heads of two visits were not compared.

    Parameters
    ----------
    reason : str
        Without a blinded code.

    Returns
    -------
    Finding
    """
    return Finding(
        SAME_HEAD, Action.NOTE, f"{Contrast.FLAIR.value}: {reason}: same head not checked", Contrast.FLAIR
    )
