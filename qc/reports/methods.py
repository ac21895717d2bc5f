"""Methods text with citations for a paper, made from what the analysis used."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.core.visits import Contrast
from qc.reports.page import render

METHODS_PAGE = "CITATION.html"
METHODS_TEXT = "CITATION.md"
BIBLIOGRAPHY = "CITATION.bib"

_CITATION = re.compile(r"\[(@\w+(?:; @\w+)*)\]")
_NAMES = {Contrast.T1W_GD: "T1w after gadolinium"}

Reference = Mapping[str, str]
"""Fields of a BibTeX entry. `cite` is the short form in a text."""


@dataclass(frozen=True)
class Used:
    """Numbers of subjects, visits and scans in an analysis, and kinds of its results: the input of the methods text.

    Parameters
    ----------
    subjects : int
        Number of subjects with at least one analysed visit.
    visits : int
        Number of analysed visits of all subjects.
    contrasts : mapping of str to int
        Number of analysed visits with a usable scan, by name of the contrast; FLAIR first.
    excluded : int
        Number of scans of analysed visits that were excluded because their registration failed.
    skull_stripped : int
        Number of analysed visits with a skull-stripped FLAIR.
    serial : bool
        True if at least one visit has a count of new T2 lesions.
    gel, gel_serial : bool
        True if at least one visit has a count of GEL, of new GEL.
    black_holes : bool
        True if at least one visit has a count of black holes.
    """

    subjects: int
    visits: int
    contrasts: Mapping[str, int]
    excluded: int
    skull_stripped: int
    serial: bool
    gel: bool
    gel_serial: bool
    black_holes: bool


def used_in(results: Sequence[SubjectResult]) -> Used:
    """Count subjects, visits and scans of an analysis. Failed visits and excluded scans are not counted as used.

    Parameters
    ----------
    results : sequence of SubjectResult
        Of all subjects.

    Returns
    -------
    Used
    """
    analysed = [visit for result in results for visit in result.quality if not visit.failure]
    records = [record for visit in analysed for record in visit.registrations]
    scans = Counter(record.contrast for record in records if not record.failed)
    counts = [visit for result in results for visit in result.visits]
    order = (Contrast.FLAIR, *(c for c in Contrast if c is not Contrast.FLAIR))
    return Used(
        subjects=sum(any(not visit.failure for visit in result.quality) for result in results),
        visits=len(analysed),
        contrasts={_NAMES.get(c, c.value): scans[c] for c in order if scans[c]},
        excluded=sum(record.failed for record in records),
        skull_stripped=sum(visit.skull_stripped is True for visit in analysed),
        serial=any(visit.new_t2_count is not None for visit in counts),
        gel=any(visit.gel_count is not None for visit in counts),
        gel_serial=any(visit.gel_new_count is not None for visit in counts),
        black_holes=any(visit.bh_count is not None for visit in counts),
    )


def write_methods(
    reports: Path,
    results: Sequence[SubjectResult],
    *,
    rules: LesionRules,
    settings_digest: str,
    software: Mapping[str, str],
    from_dicom: bool,
) -> list[Path]:
    """Write the methods text (Markdown and HTML) and its bibliography (BibTeX) into the reports folder.

    Parameters
    ----------
    reports : Path
    results : sequence of SubjectResult
        Of all subjects that the text is about.
    rules : LesionRules
        Thresholds, and the segmenter of T2 lesions.
    settings_digest : str
        `provenance.settings_digest` of the settings that made the numbers.
    software : mapping of str to str
        `provenance.software`.
    from_dicom : bool
        True if the scans were ingested as DICOM.

    Returns
    -------
    list of Path
        ``CITATION.md`` (citation keys as pandoc reads them), ``CITATION.html`` (authors and years) and
        ``CITATION.bib``, which contains the cited references and no others. Without an analysed visit it is empty,
        and files of an earlier run are removed.
    """
    used = used_in(results)
    if not used.visits:
        for name in (METHODS_PAGE, METHODS_TEXT, BIBLIOGRAPHY):
            (reports / name).unlink(missing_ok=True)
        return []
    text = render(
        "methods.md.j2",
        used=used,
        rules=rules,
        method=METHOD,
        neighbours={1: 6, 2: 18, 3: 26}[rules.connectivity],
        settings_digest=settings_digest,
        software=software,
        from_dicom=from_dicom,
    )
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]
    known = _references()
    keys = sorted({key for paragraph in paragraphs for key in _keys(paragraph)})
    listed = sorted(_listed(known[key]) for key in keys)
    plain = [_CITATION.sub(lambda found: _short(found[1], known), paragraph) for paragraph in paragraphs]
    contents = {
        METHODS_TEXT: "\n\n".join(["# Methods", *paragraphs, "# References", *listed]) + "\n",
        BIBLIOGRAPHY: "\n".join(_bibtex(key, known[key]) for key in keys),
        METHODS_PAGE: render(
            "methods.html.j2", paragraphs=plain, references=listed, text=METHODS_TEXT, bibliography=BIBLIOGRAPHY
        ),
    }
    return [write_atomic(reports / name, content) for name, content in contents.items()]


def _references() -> dict[str, dict[str, str]]:
    text = (files("qc.reports") / "templates" / "references.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, str]] = json.loads(text)
    return known


def _keys(text: str) -> list[str]:
    return [key for found in _CITATION.findall(text) for key in re.findall(r"@(\w+)", found)]


def _short(keys: str, known: Mapping[str, Reference]) -> str:
    """Citation of one or more references as a reader sees it, such as ``(Tustison et al., 2010)``."""
    return "(" + "; ".join(known[key]["cite"] for key in re.findall(r"@(\w+)", keys)) + ")"


def _listed(entry: Reference) -> str:
    """One line of the list of references."""
    authors = entry["author"].replace(" and others", ", et al.").replace(" and ", "; ")
    title = entry["title"] if entry["title"].endswith("?") else f"{entry['title']}."
    place = f"{entry.get('journal') or entry['booktitle']} {entry['year']};{entry['volume']}:{entry['pages']}."
    return f"{authors} {title} {place.replace('--', '-')} doi:{entry['doi']}"


def _bibtex(key: str, entry: Reference) -> str:
    # the second pair of braces keeps the capitals of a title
    values = {**entry, "title": f"{{{entry['title']}}}"}
    fields = "".join(f"  {name} = {{{value}}},\n" for name, value in values.items() if name != "cite")
    return f"@{'article' if 'journal' in entry else 'inproceedings'}{{{key},\n{fields}}}\n"
