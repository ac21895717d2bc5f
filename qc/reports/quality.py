"""The page over all sites and scanners: gates, open queries, and measures over time.

It is for the quality-control staff of the reading centre. It shows sites, scanners and the days on which uploads were
received. It has no subject, no visit and no day of a scan. It loads no external resource and has no script.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.provenance import software
from mri_pipeline.registry import ScannerFacts, ScannerGate
from qc.quality_history import MeasureSeries, Point
from qc.reports.names import CONTRAST_NAMES, rule_name
from qc.reports.page import render

QUALITY_PAGE: Final = "qc.html"

_WIDTH: Final = 190
_HEIGHT: Final = 64
_MARGIN: Final = 7


@dataclass(frozen=True)
class ScannerQuality:
    """Quality of one scanner.

    Parameters
    ----------
    site : str
        Code of the site.
    scanner : ScannerFacts or None
        None for uploads whose headers state no scanner.
    gates : tuple of ScannerGate
        One for each receive coil with a dummy run.
    accepted, refused : int
        Numbers of measured uploads.
    series : tuple of MeasureSeries
    """

    site: str
    scanner: ScannerFacts | None
    gates: tuple[ScannerGate, ...]
    accepted: int
    refused: int
    series: tuple[MeasureSeries, ...]

    @property
    def name(self) -> str:
        """Manufacturer, model, field strength and software."""
        if self.scanner is None:
            return "not stated"
        facts = self.scanner
        field_strength = f"{facts.field_strength_t:.4g} T" if facts.field_strength_t else ""
        return ", ".join(
            filter(None, (f"{facts.manufacturer} {facts.model}".strip(), field_strength, facts.software))
        )

    @property
    def gate(self) -> str:
        """State of its gates, in words."""
        return ", ".join(dict.fromkeys(gate.state.value for gate in self.gates)) or "no dummy run"

    @property
    def outliers(self) -> int:
        """Number of outliers."""
        return sum(one.outliers for one in self.series)

    @property
    def drifting(self) -> tuple[MeasureSeries, ...]:
        """Series with a drift."""
        return tuple(one for one in self.series if one.drift is not None)


@dataclass(frozen=True)
class SiteQuality:
    """Quality of one site.

    Parameters
    ----------
    site : str
        Code of the site.
    gate : str
        Verdict on its dummy runs.
    open_queries : mapping of str to int
        Number of open queries by rule.
    scanners : tuple of ScannerQuality
    """

    site: str
    gate: str
    open_queries: Mapping[str, int] = field(default_factory=Counter)
    scanners: tuple[ScannerQuality, ...] = ()


def write_quality(reports: Path, sites: Sequence[SiteQuality], *, trial: str, settings_digest: str) -> Path:
    """Write the page.

    Parameters
    ----------
    reports : Path
        Folder of the reports.
    sites : sequence of SiteQuality
    trial : str
        Name of the trial.
    settings_digest : str
        Digest of the settings with the limits.

    Returns
    -------
    Path
    """
    page = render(
        "quality.html.j2",
        trial=trial,
        sites=[_site(site) for site in sites],
        findings=[line for site in sites for scanner in site.scanners for line in _findings(scanner)],
        settings_digest=settings_digest,
        software=software(),
    )
    return write_atomic(reports / QUALITY_PAGE, page)


def _site(site: SiteQuality) -> dict[str, Any]:
    queries = [(rule_name(rule) if rule else "Other", count) for rule, count in sorted(site.open_queries.items())]
    return {
        "code": site.site,
        "gate": site.gate,
        "queries": queries,
        "open_queries": sum(site.open_queries.values()),
        "scanners": [_scanner(one, f"{site.site}-{number}") for number, one in enumerate(site.scanners, start=1)],
    }


def _scanner(one: ScannerQuality, anchor: str) -> dict[str, Any]:
    marked = [series for series in one.series if series.outliers or series.drift is not None]
    plain = [series for series in one.series if series not in marked]
    return {
        "anchor": anchor,
        "name": one.name,
        "gate": one.gate,
        "gates": [
            (gate.coil or "not stated", gate.state.value, gate.at[:10], gate.reason, gate.by, _waiting(gate))
            for gate in one.gates
        ],
        "accepted": one.accepted,
        "refused": one.refused,
        "outliers": one.outliers,
        "drifts": len(one.drifting),
        "marked": [_plot(series) for series in marked],
        "plain": [_plot(series) for series in plain],
    }


def _waiting(gate: ScannerGate) -> str:
    waits = [f"decision on dummy run {gate.waiting_digest[:8]}"] if gate.waiting_digest else []
    proposed = [f"{gate.proposed} by {gate.proposed_by}, not confirmed"] if gate.proposed else []
    return "; ".join(waits + proposed)


def _findings(scanner: ScannerQuality) -> list[tuple[str, str, str, str, str]]:
    """Outliers and drifts in words."""
    found = []
    for series in scanner.series:
        what = []
        if series.outliers:
            what.append(f"{series.outliers} of {len(series.points)} uploads")
        if series.drift is not None:
            what.append(f"drift of {_number(series.drift)}{_unit(series)}")
        if what:
            names = (CONTRAST_NAMES[series.contrast], rule_name(series.rule))
            found.append((scanner.site, scanner.name, *names, "; ".join(what)))
    return found


def _range(values: Sequence[float], unit: str) -> str:
    low, high, last = map(_number, (min(values), max(values), values[-1]))
    return f"{last}{unit}" if low == high else f"{low} to {high}{unit}, last {last}"


def _unit(series: MeasureSeries) -> str:
    return f" {series.unit}" if series.unit else ""


def _number(value: float) -> str:
    return f"{value:.3g}"


def _plot(series: MeasureSeries) -> dict[str, Any]:
    """Coordinates of a small plot. The limit is drawn if it is not far from the values."""
    values = [point.value for point in series.points]
    low, high = min(values), max(values)
    limit = series.limit
    if limit is not None and low - 2 * (high - low) <= limit <= high + 2 * (high - low):
        low, high = min(low, limit), max(high, limit)
    else:
        limit = None
    height = (high - low) or 1.0

    def y(value: float) -> float:
        return round(_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / height, 1)

    places = [
        {"x": x, "y": y(point.value), "kind": _kind(point), "outlier": point.outlier}
        for x, point in zip(_across(series.points), series.points, strict=True)
    ]
    return {
        "contrast": CONTRAST_NAMES[series.contrast],
        "rule": rule_name(series.rule),
        "width": _WIDTH,
        "height": _HEIGHT,
        "limit_y": None if limit is None else y(limit),
        "line": " ".join(f"{place['x']},{place['y']}" for place in places),
        "places": places,
        "range": _range(values, _unit(series)),
        "limit": "" if series.limit is None else f"limit {_number(series.limit)}{_unit(series)}",
        "days": f"{series.points[0].at:%Y-%m-%d} to {series.points[-1].at:%Y-%m-%d}",
        "outliers": series.outliers,
        "drift": "" if series.drift is None else f"drift {_number(series.drift)}{_unit(series)}",
    }


def _kind(point: Point) -> str:
    if not point.accepted:
        return "refused"
    return "dummy" if point.dummy_run else "visit"


def _across(points: Sequence[Point]) -> list[float]:
    """Horizontal places by time; in the middle if all have the same time."""
    start, whole = points[0].at, points[-1].at - points[0].at
    inner = _WIDTH - 2 * _MARGIN
    if whole <= dt.timedelta(0):
        return [_WIDTH / 2 for _ in points]
    return [round(_MARGIN + inner * ((point.at - start) / whole), 1) for point in points]
