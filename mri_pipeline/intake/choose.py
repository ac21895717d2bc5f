"""Choice of the series of a visit. Each choice has a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.aborted import WHOLE_HEAD_MM
from mri_pipeline.intake.contrast import Basis, Recognised
from mri_pipeline.intake.gadolinium import same_protocol


@dataclass(frozen=True)
class Choice:
    """The series used for a contrast.

    Parameters
    ----------
    contrast : Contrast
    recognised : Recognised
    evidence : str
        How the contrast was recognised and why this series was chosen. It contains no header text.
    doubtful : bool
        True if the contrast requires review by the quality-control staff.
    timing_query : str
        Reason why it is uncertain whether a T1 is pre-contrast or post-contrast, with the evidence on both sides.
        Empty if it is certain, and for other contrasts.
    """

    contrast: Contrast
    recognised: Recognised
    evidence: str
    doubtful: bool
    timing_query: str = ""

    @property
    def basis(self) -> Basis | None:
        """How a T1 was recognised as pre-contrast or post-contrast. None for other contrasts."""
        return self.recognised.timing.basis if self.recognised.timing else None


def choose(recognised: Sequence[Recognised]) -> Mapping[Contrast, Choice]:
    """Choose one series per contrast: complete before incomplete, then the finest, then the last (a rescan).

    A T1 that is certainly pre-contrast or post-contrast is preferred to a doubtful one. For pre-contrast T1, a series
    of the same protocol as the post-contrast T1 is preferred, because the two are compared voxel by voxel. A T1 whose
    header and description contradict each other is named in `Choice.timing_query` even if it is not chosen.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit, after `split_gadolinium`.

    Returns
    -------
    mapping of Contrast to Choice
        A contrast without a series is absent.
    """
    chosen: dict[Contrast, Choice] = {}
    for contrast in (Contrast.T1W_GD, *(c for c in Contrast if c is not Contrast.T1W_GD)):
        candidates = [r for r in recognised if r.contrast is contrast]
        if not candidates:
            continue
        partner = chosen.get(Contrast.T1W_GD) if contrast is Contrast.T1W else None
        best = max(candidates, key=lambda r: _rank(r, partner))
        evidence = best.evidence
        if len(candidates) > 1:
            evidence += f"; chosen from {len(candidates)} series of this contrast"
        chosen[contrast] = Choice(contrast, best, evidence, best.doubtful, _timing_query(best, recognised))
    return chosen


def _timing_query(best: Recognised, recognised: Sequence[Recognised]) -> str:
    """Doubts about the chosen T1, and about T1 series that were not chosen."""
    if best.timing is None:
        return ""
    doubts = [f"{best.series.label}: {best.timing.evidence}"] if best.timing.doubtful else []
    rivals = [r for r in recognised if r is not best and r.contrast is best.contrast and r.timing]
    doubts += [
        f"{r.series.label} is not used: {r.timing.evidence}" for r in rivals if r.timing and r.timing.contradictory
    ]
    alone = best.timing.after and not any(r.contrast is Contrast.T1W for r in recognised)
    if alone and any(same_protocol(best, r) for r in rivals):
        labels = ", ".join(r.series.label for r in (best, *rivals))
        doubts.append(f"no pre-contrast T1, and several post-contrast ones: {labels}")
    return "; ".join(doubts)


def _rank(item: Recognised, partner: Choice | None) -> tuple[bool, bool, bool, bool, float, float]:
    geometry = item.series.geometry
    if geometry is None:
        return False, False, False, False, 0.0, 0.0
    certain = item.timing is None or not item.timing.doubtful
    alike = partner is not None and same_protocol(item, partner.recognised)
    coarsest = max(geometry.spacing_mm)
    whole_head = (
        geometry.coverage_mm >= WHOLE_HEAD_MM
    )  # excludes slabs; the limit of the protocol is checked later
    return geometry.complete, whole_head, certain, alike, -round(coarsest, 1), item.series.acquired_s or 0.0
