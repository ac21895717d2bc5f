"""Distinguish pre-contrast from post-contrast T1 by header, name and order of acquisition.

The images decide: `mri_pipeline.images.enhancement` compares the two T1 that were chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.contrast import Basis, ContrastTiming, Recognised
from mri_pipeline.intake.contrast_words import Said, said_of_contrast

MIN_ORDER_MINUTES = 3.0
"""Least time between the starts of two T1 series before and after contrast. A shorter time means a rescan."""

SAME_PROTOCOL = 0.1
"""TR or TE of one protocol differ by at most this fraction of the longer one."""

_WORDS = {True: "post-contrast", False: "pre-contrast"}

Timings = dict[int, ContrastTiming]
"""By the identity of the recognised series."""


def split_gadolinium(recognised: Sequence[Recognised]) -> tuple[Recognised, ...]:
    """Distinguish pre-contrast from post-contrast T1.

    Evidence in order of strength: the time of the injection in the header compared with the start of the scan; the
    contrast agent in the header, unless the scanner keeps it for the whole exam; words in the description; the order of
    acquisition. A header that states that no agent was given is weaker than a description that says post-contrast: such
    a series stays a candidate, for comparison of the images. Contradictions, and decisions by order alone, are marked
    `doubtful`.

    Parameters
    ----------
    recognised : sequence of Recognised
        All series of one visit.

    Returns
    -------
    tuple of Recognised
        In the same order. Every T1 has a `timing`; `contrast` of the post-contrast ones is T1W_GD.
    """
    t1 = [r for r in recognised if r.contrast is Contrast.T1W]
    timings: Timings = {}
    for item in t1:
        timing = _by_header_and_name(item, t1)
        if timing is not None:
            timings[id(item)] = timing
    timings |= _impossible_orders(t1, timings)
    undecided = [r for r in t1 if id(r) not in timings]
    if timings:
        timings |= {id(r): _beside_known(r, t1, timings) for r in undecided}
    else:
        timings = _by_order_alone(undecided)
    return tuple(_with_timing(r, timings[id(r)]) if id(r) in timings else r for r in recognised)


def _with_timing(item: Recognised, timing: ContrastTiming) -> Recognised:
    contrast = Contrast.T1W_GD if timing.after else Contrast.T1W
    return replace(item, contrast=contrast, evidence=f"{item.evidence}; {timing.evidence}", timing=timing)


def _by_header_and_name(item: Recognised, t1: Sequence[Recognised]) -> ContrastTiming | None:
    """None if neither says anything."""
    header, name = _header(item, t1), said_of_contrast(item.series.first.description)
    if header is None:
        if name is None:
            return None
        after = name is Said.AFTER
        return ContrastTiming(after, Basis.NAME, f"its description says {_WORDS[after]}")
    after, why, certain = header
    if name is None:
        return ContrastTiming(after, Basis.HEADER, why)
    named_after = name is Said.AFTER
    if named_after is after:
        return ContrastTiming(after, Basis.HEADER, f"{why}, as its description does")
    return ContrastTiming(
        after if certain else named_after, Basis.HEADER if certain else Basis.NAME,
        f"{why}, but its description says {_WORDS[named_after]}", doubtful=True, contradictory=True,
    )  # fmt: skip


def _header(item: Recognised, t1: Sequence[Recognised]) -> tuple[bool, str, bool] | None:
    """Whether it is post-contrast, why, and whether that outweighs the name. None if the header is not conclusive."""
    facts, acquired = item.series.first, item.series.acquired_s
    if facts.contrast_start_s is not None and acquired is not None:
        after = acquired >= facts.contrast_start_s
        return after, f"its header says {_WORDS[after]} by the time of the injection", True
    if facts.contrast_agent is False:
        return False, "its header says pre-contrast: no contrast agent given", False
    if facts.contrast_agent and _agent_tells(item, t1):
        return True, "its header says post-contrast: contrast agent given", True
    return None


def _agent_tells(item: Recognised, t1: Sequence[Recognised]) -> bool:
    """False if the scanner keeps the contrast agent in the headers of the whole exam."""
    others = [r for r in t1 if r is not item]
    if said_of_contrast(item.series.first.description) is Said.BEFORE:
        return not any(r.series.first.contrast_agent and _minutes(item, r) > 0 for r in others)
    return not others or any(_known_before(r) for r in others)


def _known_before(item: Recognised) -> bool:
    facts, acquired = item.series.first, item.series.acquired_s
    if facts.contrast_start_s is not None and acquired is not None:
        return acquired < facts.contrast_start_s
    return not facts.contrast_agent or said_of_contrast(facts.description) is Said.BEFORE


def _minutes(earlier: Recognised, later: Recognised) -> float:
    """Minutes from one start to the other; 0 if one is unknown."""
    one, two = earlier.series.acquired_s, later.series.acquired_s
    return 0.0 if one is None or two is None else (two - one) / 60


def _impossible_orders(t1: Sequence[Recognised], timings: Mapping[int, ContrastTiming]) -> Timings:
    """Series that are pre-contrast by their description but started after a post-contrast one, and that one."""
    marked: Timings = {}
    known = [r for r in t1 if id(r) in timings]
    for before in known:
        for after in known:
            one, two = timings[id(before)], timings[id(after)]
            if one.after or not two.after or _minutes(after, before) <= 0:
                continue
            for item, other, timing in ((before, after, one), (after, before, two)):
                if timing.basis is Basis.NAME:
                    order = "after" if item is before else "before"
                    evidence = (
                        f"{timing.evidence}, but it started {order} {other.series.label}, which is "
                        f"{_WORDS[item is before]}"
                    )
                    marked[id(item)] = replace(timing, evidence=evidence, doubtful=True, contradictory=True)
    return marked


def _beside_known(
    item: Recognised, t1: Sequence[Recognised], timings: Mapping[int, ContrastTiming]
) -> ContrastTiming:
    """A series without evidence of its own, by its order among series with evidence."""
    if item.series.acquired_s is None:
        return _nothing_known()
    afters = _by_start(r for r in t1 if id(r) in timings and timings[id(r)].after)
    befores = _by_start(r for r in t1 if id(r) in timings and not timings[id(r)].after)
    if afters:
        first = afters[0]
        after = _minutes(first, item) >= 0
        why = f"{_WORDS[after]} by order: it started {'after' if after else 'before'} {first.series.label}, "
        other_tag = after and bool(first.series.first.contrast_agent) and not item.series.first.contrast_agent
        return ContrastTiming(
            after, Basis.ORDER, why + "which is post-contrast", doubtful=timings[id(first)].doubtful or other_tag
        )
    if not befores:
        return _nothing_known()
    last = befores[-1]
    minutes = _minutes(last, item)
    if minutes <= 0:
        why = f"pre-contrast by order: it started before {last.series.label}, which is pre-contrast"
        return ContrastTiming(after=False, basis=Basis.ORDER, evidence=why, doubtful=timings[id(last)].doubtful)
    after = minutes >= MIN_ORDER_MINUTES
    why = f"{_WORDS[after]} by order only: it started {minutes:.0f} min after pre-contrast {last.series.label}"
    return ContrastTiming(after, Basis.ORDER, why, doubtful=True)


def _by_order_alone(t1: Sequence[Recognised]) -> Timings:
    """T1 series of which neither header nor description says anything.

    The first repeat of a protocol after some minutes is post-contrast, and what follows it. Without a repeat, all are
    post-contrast if each has a contrast agent in its header; else the longest pause separates before and after.
    """
    timings = {id(r): _nothing_known() for r in t1}
    timed = _by_start(t1)
    if not timed:
        return timings
    cut = _first_repeat(timed)
    if cut is None and all(r.series.first.contrast_agent for r in t1):
        why = "its header says post-contrast: contrast agent given, as in every T1 of the visit"
        return {id(r): ContrastTiming(after=True, basis=Basis.HEADER, evidence=why, doubtful=True) for r in t1}
    what = "the same protocol" if cut is not None else "another protocol"
    cut = cut or _longest_pause(timed)
    if cut is None:
        return timings
    for item in timed:
        after = timed.index(item) >= timed.index(cut)
        other = timed[0] if after else cut
        minutes = _minutes(other, item)
        when = f"{abs(minutes):.0f} min {'earlier' if minutes > 0 else 'later'}"
        why = f"{_WORDS[after]} by order only: {other.series.label} of {what} started {when}"
        timings[id(item)] = ContrastTiming(after, Basis.ORDER, why, doubtful=True)
    return timings


def _nothing_known() -> ContrastTiming:
    why = "header, description and order do not say whether it is pre-contrast or post-contrast"
    return ContrastTiming(after=False, basis=Basis.NONE, evidence=why, doubtful=True)


def _by_start(items: Iterable[Recognised]) -> list[Recognised]:
    timed = [r for r in items if r.series.acquired_s is not None]
    return sorted(timed, key=lambda r: r.series.acquired_s or 0.0)


def _first_repeat(timed: Sequence[Recognised]) -> Recognised | None:
    for item in timed:
        if any(same_protocol(r, item) and _minutes(r, item) >= MIN_ORDER_MINUTES for r in timed):
            return item
    return None


def _longest_pause(timed: Sequence[Recognised]) -> Recognised | None:
    pauses = [(_minutes(one, two), two) for one, two in pairwise(timed)]
    minutes, item = max(pauses, key=lambda p: p[0], default=(0.0, None))
    return item if minutes >= MIN_ORDER_MINUTES else None


def same_protocol(one: Recognised, other: Recognised) -> bool:
    """True if two series have the same plane and dimension, and TR and TE within 10 % (`SAME_PROTOCOL`).

    Parameters
    ----------
    one, other : Recognised

    Returns
    -------
    bool
        An unknown TR or TE is no difference.
    """
    a, b = one.series.first, other.series.first
    pairs = ((a.repetition_time_ms, b.repetition_time_ms), (a.echo_time_ms, b.echo_time_ms))
    close = all(x is None or y is None or abs(x - y) <= SAME_PROTOCOL * max(x, y) for x, y in pairs)
    planes = {r.series.geometry.plane if r.series.geometry else "" for r in (one, other)}
    return close and a.acquisition_type == b.acquisition_type and len(planes) == 1
