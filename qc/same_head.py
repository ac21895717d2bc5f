"""Whether the FLAIR of a visit shows the head of the subject's other visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.register import register_rigid
from qc.change import CHANGE
from qc.findings import Finding

SAME_HEAD: Final = f"{CHANGE}same_head"
"""Rule of the head of the subject's other visits."""

AGREEMENT: Final = "head_agreement"
"""Name of `HeadMatch.agreement` among the measures of the FLAIR."""


@dataclass(frozen=True)
class HeadMatch:
    """The FLAIR of a visit registered to that of another visit of the subject.

    Parameters
    ----------
    visit : str
        Label of the other visit.
    agreement : float
        `mri_pipeline.images.register.Registration.quality`.
    """

    visit: str
    agreement: float


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
    return HeadMatch(visit, register_rigid(other, flair, intra_modal=True).quality)


def judge_head(match: HeadMatch, limit: QualityLimit) -> Finding:
    """Judge whether two visits show the same head.

    Parameters
    ----------
    match : HeadMatch
    limit : QualityLimit

    Returns
    -------
    Finding
        Met or violated, with the agreement. It does not tell which of the two visits shows another head, and a mirrored
        head may meet the limit.
    """
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
