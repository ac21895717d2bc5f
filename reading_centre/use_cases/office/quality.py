"""Image quality over all sites and scanners: the page for the quality-control staff and its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.registry import QueryState, Registry, ScannerFacts, ScannerGate, StoredMeasures, Use
from qc.quality_history import latest_of_each, measure_series
from qc.reports.quality import ScannerQuality, SiteQuality, write_quality


@dataclass(frozen=True)
class ScannerLine:
    """Quality of one scanner in numbers.

    Parameters
    ----------
    site : str
        Code of the site.
    scanner : str
        Manufacturer, model, field strength and software; empty for a site without scanners.
    gate : str
        State of its gates.
    uploads, refused, outliers, drifts : int
        Measured uploads, refused ones of them, measures that are outliers, and measures that drift.
    open_queries : int
        Of the site.
    """

    site: str
    scanner: str
    gate: str
    uploads: int
    refused: int
    outliers: int
    drifts: int
    open_queries: int


@dataclass(frozen=True)
class QualityOverview:
    """Quality of all sites and scanners.

    Parameters
    ----------
    scanners : tuple of ScannerLine
    page : str
        Path of the page.
    """

    scanners: tuple[ScannerLine, ...]
    page: str

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def quality_overview(folder: Path) -> QualityOverview:
    """Write the page on image quality of a trial. The registry is not changed.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    QualityOverview

    Raises
    ------
    UsageError
        If there is no trial.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        state = registry.state()
        uploads = latest_of_each(registry.measures.all())
        gates = registry.scanner_gates.all()
        scanners = registry.scanner_gates.scanners()
        queries = [query for query in registry.site_queries.all() if query.state is not QueryState.CLOSED]
    sites = [
        SiteQuality(
            site.code,
            site.gate.value,
            Counter(query.question.rule for query in queries if query.site == site.code),
            tuple(_scanners(site.code, uploads, gates, scanners, protocol)),
        )
        for site in state.sites
    ]
    page = write_quality(trial.reports, sites, trial=protocol.name, settings_digest=settings_digest(protocol))
    return QualityOverview(tuple(line for site in sites for line in _lines(site)), str(page))


def _scanners(
    site: str,
    uploads: list[StoredMeasures],
    gates: list[ScannerGate],
    scanners: dict[int, tuple[str, ScannerFacts]],
    protocol: Protocol,
) -> list[ScannerQuality]:
    own: dict[int | None, ScannerFacts | None] = {
        n: facts for n, (code, facts) in scanners.items() if code == site
    }
    if any(one.site == site and one.scanner is None for one in uploads):
        own[None] = None
    found = []
    for number, facts in own.items():
        of_scanner = [one for one in uploads if one.site == site and one.scanner == number]
        accepted = sum(one.accepted for one in of_scanner)
        found.append(
            ScannerQuality(
                site,
                facts,
                tuple(gate for gate in gates if gate.number == number),
                accepted,
                len(of_scanner) - accepted,
                tuple(measure_series(of_scanner, protocol)),
            )
        )
    return found


def _lines(site: SiteQuality) -> list[ScannerLine]:
    queries = sum(site.open_queries.values())
    if not site.scanners:
        return [ScannerLine(site.site, "", site.gate, 0, 0, 0, 0, queries)]
    return [
        ScannerLine(
            site.site, one.name, one.gate, one.accepted + one.refused, one.refused, one.outliers, len(one.drifting),
            queries,
        )
        for one in site.scanners
    ]  # fmt: skip
