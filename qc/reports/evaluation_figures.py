"""Figures of an evaluation: volumes, their differences, Dice by lesion load and detection by lesion size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mri_pipeline.lesions.scoring.scores import Rule
from mri_pipeline.lesions.scoring.summary import SizeClass, VolumeAgreement
from qc.reports.subject.figures import BLUE, GREY, ORANGE, figure_uri

_WIDE = 20.0  # volumes that span more than this factor are drawn on a logarithmic axis
_LABEL = 24  # characters of a case's label
_NAMED = 3  # number of cases with the largest differences that are labelled

Point = tuple[str, float, float]  # label, x, y


def volumes(cases: Sequence[tuple[str, float, float]], agreement: VolumeAgreement) -> str:
    """Predicted against reference volume and Bland-Altman plot, as a PNG data URI.

    Parameters
    ----------
    cases : sequence of (label, reference, predicted)
        Volumes in mL.
    agreement : VolumeAgreement
        Agreement of the same cases.

    Returns
    -------
    str
    """
    figure = Figure(figsize=(12.5, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, cases, [])
    top = 1.08 * max(max(reference, predicted) for _, reference, predicted in cases) or 1.0
    left.axline((0, 0), slope=1, color=GREY, linewidth=1, label="equal")
    _volume_axis(left, [v for _, *pair in cases for v in pair], "xy")
    left.set(xlim=(left.get_xlim()[0], top), ylim=(left.get_ylim()[0], top), aspect="equal")
    _dress(left, "Volumes", "reference (mL)", "predicted (mL)")
    left.legend(frameon=False, fontsize=9, loc="upper left")
    points = [(label, (reference + predicted) / 2, predicted - reference) for label, reference, predicted in cases]
    _scatter(right, points, sorted(points, key=lambda point: -abs(point[2]))[:_NAMED])
    right.margins(y=0.15)
    right.axhline(0, color=GREY, linewidth=1)
    _level(right, agreement.bias_ml, "bias", BLUE, "-")
    for value in agreement.limits_ml or ():
        _level(right, value, "95 % limit", ORANGE, "--")
    _volume_axis(right, [x for _, x, _ in points], "x")
    _dress(right, "Bland-Altman", "mean of both (mL)", "predicted minus reference (mL)")
    return figure_uri(figure)


def detection(dice: Sequence[Point], sizes: Sequence[SizeClass]) -> str:
    """Dice by lesion load, and recall and precision by lesion size, as a PNG data URI.

    Parameters
    ----------
    dice : sequence of (label, reference volume in mL, Dice)
        Cases with a defined Dice.
    sizes : sequence of SizeClass

    Returns
    -------
    str
    """
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, dice, sorted(dice, key=lambda point: point[2])[:1])
    _volume_axis(left, [x for _, x, _ in dice], "x")
    left.set_ylim(0, 1)
    _dress(left, "Dice by lesion load", "reference (mL)", "Dice")
    at = np.arange(len(sizes))
    bars = [
        ("recall, 10 % rule", BLUE, -0.3, [s.detections[Rule.TENTH].recall for s in sizes]),
        ("recall, Anima", "#7fb8d8", -0.1, [s.detections[Rule.ANIMA].recall for s in sizes]),
        ("precision, 10 % rule", ORANGE, 0.1, [s.detections[Rule.TENTH].precision for s in sizes]),
        ("precision, Anima", "#eaae7f", 0.3, [s.detections[Rule.ANIMA].precision for s in sizes]),
    ]
    for label, colour, shift, values in bars:
        right.bar(at + shift, [value or 0.0 for value in values], width=0.18, color=colour, label=label)
        zeros = [
            x + shift for x, value in zip(at, values, strict=True) if value == 0
        ]  # drawn at zero, unlike "not defined"
        right.plot(zeros, [0.0] * len(zeros), "_", color=colour, ms=9, mew=3)
    right.set_xlim(-0.6, len(sizes) - 0.4)
    right.set_xticks(at, [size.name for size in sizes])
    right.set_ylim(0, 1)
    _dress(right, "Lesions of all cases by size", "volume of the lesion (mm³)", "share")
    right.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderpad=0)
    right.set_title("Lesions of all cases by size", loc="left", fontsize=11, fontweight="bold", pad=38)
    return figure_uri(figure)


def _scatter(ax: Axes, points: Sequence[Point], named: Sequence[Point]) -> None:
    ax.scatter([x for _, x, _ in points], [y for _, _, y in points], s=36, color=BLUE, alpha=0.75, linewidths=0,
               clip_on=False, zorder=3)  # fmt: skip
    left = max((x for _, x, _ in points), default=0.0) / 4
    for label, x, y in named:  # labels point away from the edge and do not shrink the axes
        text = label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
        way, ha = (-7, "right") if x > left else (7, "left")
        shown = ax.annotate(text, (x, y), (way, 4), textcoords="offset points", ha=ha, fontsize=8, color=GREY)
        shown.set(in_layout=False, parse_math=False)  # a label may hold a dollar sign


def _level(ax: Axes, value: float, name: str, colour: str, line: str) -> None:
    ax.axhline(value, color=colour, linewidth=1.4, linestyle=line)
    ax.annotate(
        f"{name} {value:+.2f}",
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=colour,
    )


def _volume_axis(ax: Axes, values: Sequence[float], axes: str) -> None:
    """Scale the volume axes: logarithmic (with zero) if the volumes span a wide range."""
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) > _WIDE * min(positive)
    for name in axes:
        if wide:
            getattr(ax, f"set_{name}scale")("symlog", linthresh=max(min(positive), max(positive) / 1000))
            getattr(ax, f"{name}axis").set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        getattr(ax, f"set_{name}lim")(**{"left" if name == "x" else "bottom": 0})


def _dress(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#e4e4e4", linewidth=0.8)
    ax.set_axisbelow(True)
