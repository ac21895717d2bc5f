"""The site's statement which series is which contrast. It settles what headers and names leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.contrast import Basis, ContrastTiming, Recognised
from mri_pipeline.intake.unwanted import Unwanted

_T1: Final = frozenset({Contrast.T1W, Contrast.T1W_GD})


def apply_statement(recognised: Sequence[Recognised], stated: Mapping[Contrast, int]) -> tuple[Recognised, ...]:
    """Give the stated series their contrasts. Other series of a stated contrast are not used.

    A statement decides between series of one contrast, about a series of unknown or doubtful contrast, and whether a T1
    is pre-contrast or post-contrast. It does not overrule a series whose contrast is certain: a FLAIR cannot be stated
    to be a T2w.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit, after `split_gadolinium`.
    stated : mapping of Contrast to int
        Series number of each stated contrast.

    Returns
    -------
    tuple of Recognised
        In the same order.

    Raises
    ------
    UsageError
        If no series has the number, several have it, or its contrast is certainly another one.
    """
    found = {contrast: _stated_series(recognised, contrast, number) for contrast, number in stated.items()}
    by_series: dict[int, list[str]] = {}
    for contrast, item in found.items():
        by_series.setdefault(id(item), []).append(contrast.value)
    if shared := [contrasts for contrasts in by_series.values() if len(contrasts) > 1]:
        raise UsageError(
            f"--series: expected a different series for each contrast, found one series for {' and '.join(shared[0])}",
            hint="check the numbers",
        )
    contrast_of = {id(item): contrast for contrast, item in found.items()}
    return tuple(
        _with_contrast(item, contrast_of[id(item)]) if id(item) in contrast_of else _unless_stated(item, stated)
        for item in recognised
    )


def _stated_series(recognised: Sequence[Recognised], contrast: Contrast, number: int) -> Recognised:
    numbered = [item for item in recognised if item.series.first.series_number == number]
    if not numbered:
        known = sorted({n for n in (item.series.first.series_number for item in recognised) if n is not None})
        raise UsageError(
            f"--series {contrast.value}={number}: expected the number of a series of the upload, found "
            f"{', '.join(map(str, known)) or 'no numbers'}",
            hint="the number is SeriesNumber (0020,0011) of the header",
        )
    fitting = [item for item in numbered if _may_be(item, contrast)]
    if not fitting:
        raise UsageError(
            f"--series {contrast.value}={number}: expected a series that may be {contrast.value}, found that "
            f"{numbered[0].evidence}",
            hint="check the numbers, or correct the header at the site",
        )
    certain = [item for item in fitting if item.contrast is contrast] or fitting
    if len(certain) > 1:
        raise UsageError(
            f"--series {contrast.value}={number}: expected one series with this number, found {len(certain)}",
            hint="ask the site for the right one of them alone",
        )
    return certain[0]


def _may_be(item: Recognised, contrast: Contrast) -> bool:
    if item.series.geometry is None:
        return False
    return item.contrast is contrast or item.doubtful or item.unwanted is Unwanted.UNKNOWN or (
        item.contrast in _T1 and contrast in _T1
    )  # fmt: skip


def _with_contrast(item: Recognised, contrast: Contrast) -> Recognised:
    evidence = f"{item.series.label} is {contrast.value} by a statement of the site"
    timing = _timing(item, after=contrast is Contrast.T1W_GD) if contrast in _T1 else None
    return replace(item, contrast=contrast, unwanted=None, evidence=evidence, doubtful=False, timing=timing)


def _timing(item: Recognised, *, after: bool) -> ContrastTiming:
    """A header or name that is certain and says the contrary remains a doubt: the images decide."""
    why = f"the site states {'post' if after else 'pre'}-contrast"
    known = item.timing
    if known is None or known.doubtful or known.after is after:
        return ContrastTiming(after, Basis.SITE, why)
    return ContrastTiming(after, Basis.SITE, f"{why}, but {known.evidence}", doubtful=True, contradictory=True)


def _unless_stated(item: Recognised, stated: Mapping[Contrast, int]) -> Recognised:
    if item.contrast is None or item.contrast not in stated:
        return item
    evidence = f"{item.series.label} is {Unwanted.NOT_STATED.value} ({item.contrast.value})"
    return replace(item, contrast=None, unwanted=Unwanted.NOT_STATED, evidence=evidence)
