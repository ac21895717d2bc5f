"""Acceptance report of a dummy run: one self-contained HTML file for the site and the reading centre."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Final

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from mri_pipeline.core.provenance import software
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from qc.acceptance import DummyRun, Verdict
from qc.findings import Finding
from qc.measures import ImageMeasures

_MOSAIC_ROWS: Final = 2
_MOSAIC_COLUMNS: Final = 6

_HEADLINES: Final = {
    Verdict.ACCEPTED: "The dummy run is accepted. The site may enrol.",
    Verdict.QUERIES: "The dummy run is accepted. The site may enrol; please answer the queries below.",
    Verdict.REFUSED: "The dummy run is refused. The site cannot enrol yet.",
}

_NAMES: Final = {
    Contrast.T1W: "T1",
    Contrast.T1W_GD: "T1 after contrast",
    Contrast.T2W: "T2",
    Contrast.PDW: "Proton density",
    Contrast.FLAIR: "FLAIR",
}

_NOT_LISTED: Final = frozenset({"slice_digests", "placement"})
"""Parts of the measures that are no values."""

_RULES: Final = {
    "field_strength": "Field strength",
    "sequence": "Sequence",
    "whole_series": "Whole series",
    "spacing_3d": "3D voxel size",
    "thickness_2d": "Slice thickness",
    "gap": "Gap between slices",
    "in_plane_2d": "In-plane voxel size",
    "coverage": "Coverage",
    "contrast_recognised": "Contrast recognition",
    "contrast_timing": "Before or after contrast",
    "enhancement": "Enhancement",
    "minutes_after_contrast": "Time after contrast",
    "snr": "Signal to noise",
    "cnr": "Grey/white contrast to noise",
    "edge": "Head at the edge",
    "ghosting": "Ghosting in the air",
    "ghost_in_head": "Ghosting in the head",
    "saturation": "Saturation",
    "spike": "Spike of k-space",
    "line": "Line of interference",
    "sharpness": "Sharpness",
    "slice_displacement": "Displaced slice",
    "interleave": "Odd and even slices, position",
    "alternation": "Odd and even slices, intensity",
    "slice_step": "Step between slices",
    "doubled_slice": "Doubled slice",
    "no_brain": "Brain found",
    "upside_down": "Upside down",
    "left_right": "Left and right",
    "brain_missing": "Brain outside of the slices",
    "vertex": "Vertex",
    "foramen_magnum": "Foramen magnum",
    "fluid_signal": "Signal of CSF",
    "grey_signal": "Signal of grey matter",
    "bias": "Shading",
    "void": "Signal void",
    "not_measured": "Not measured",
    "blank_slices": "Blank slices",
    "repeated_slices": "Copied slices",
    "copied_scan": "Copied scan",
    "head_volume": "Volume of the head",
    "head_detail": "Local variation of the head",
    "slice_coherence": "Correlation of neighbouring slices",
    "split_series": "Series in parts",
    "coverage_loss": "Missing coverage",
    "conversion": "Conversion",
}


def acceptance_html(run: DummyRun, *, trial: str, settings_digest: str) -> str:
    """Render the report.

    Parameters
    ----------
    run : DummyRun
    trial : str
        Name of the trial.
    settings_digest : str
        Digest of the settings used for the verdict (`mri_pipeline.core.provenance.settings_digest`).

    Returns
    -------
    str
        HTML with embedded style and images. It contains no patient data: no description, name, number or date from
        a header. A mosaic shows twelve axial slices. A face cannot be reconstructed from them.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("qc.reports") / "templates" / "acceptance.html.j2"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    return template.render(
        trial=trial,
        site=run.site,
        verdict=run.verdict.value,
        tone={Verdict.ACCEPTED: "good", Verdict.QUERIES: "ask", Verdict.REFUSED: "bad"}[run.verdict],
        headline=_HEADLINES[run.verdict],
        refusals=[_row(f) for f in run.of(Action.REFUSE)],
        queries=[_row(f) for f in run.of(Action.QUERY)],
        notes=[_row(f) for f in run.of(Action.NOTE)],
        met=[_row(f) for f in run.findings if f.action is None],
        scanner=_scanner(run),
        series=[r.evidence for r in run.recognised],
        images=[_image(contrast, image, run.measures) for contrast, image in _in_order(run.images)],
        software=software(),
        settings_digest=settings_digest,
    )


def acceptance_json(run: DummyRun, *, trial: str, settings_digest: str) -> str:
    """The verdict, all findings and all measures of a dummy run, for machines.

    Parameters
    ----------
    run : DummyRun
    trial : str
        Name of the trial.
    settings_digest : str
        As in `acceptance_html`.

    Returns
    -------
    str
        JSON without patient data. A value that could not be measured is null.
    """
    findings = [
        {**asdict(f), "action": f.action or "met", "contrast": f.contrast.value if f.contrast else None}
        for f in run.findings
    ]
    measures = {
        contrast.value: {k: v for k, v in asdict(values).items() if k not in _NOT_LISTED}
        for contrast, values in run.measures.items()
    }
    content = {
        "trial": trial,
        "site": run.site,
        "verdict": run.verdict.value,
        "settings": settings_digest,
        "findings": findings,
        "measures": measures,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _in_order(images: Mapping[Contrast, Image]) -> list[tuple[Contrast, Image]]:
    order = [Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD, Contrast.T2W, Contrast.PDW]
    return [(contrast, images[contrast]) for contrast in order if contrast in images]


def _row(finding: Finding) -> dict[str, str]:
    prefix = f"{finding.contrast.value}: " if finding.contrast else ""
    message = finding.message.removeprefix(prefix)
    return {
        "rule": _RULES.get(finding.rule, finding.rule),
        "contrast": _NAMES[finding.contrast] if finding.contrast else "all",
        "message": message[:1].upper()
        + message[1:]
        + (f"; {finding.to_do}." if finding.action and finding.to_do else "."),
    }


def _scanner(run: DummyRun) -> list[tuple[str, str]]:
    if run.profile is None:
        return []
    field = run.profile.field_strength_t
    return [
        ("Manufacturer", run.profile.manufacturer or "not stated"),
        ("Model", run.profile.model or "not stated"),
        ("Software", run.profile.software or "not stated"),
        ("Field strength", "not stated" if field is None else f"{field:.4g} T"),
    ]


def _image(contrast: Contrast, image: Image, measures: Mapping[Contrast, ImageMeasures]) -> dict[str, Any]:
    values = measures[contrast]
    spacing = " x ".join(f"{s:.2f}" for s in image.grid.spacing_mm)
    return {
        "name": _NAMES[contrast],
        "png": mosaic_png(image),
        "facts": [
            ("Voxels", " x ".join(map(str, image.grid.shape))),
            ("Spacing", f"{spacing} mm"),
            ("Signal to noise", _shown(values.snr)),
            ("Grey/white contrast to noise", _shown(values.cnr)),
            ("Ghosting", _shown(values.ghosting_percent, " %")),
            ("Head height", f"{values.head_mm[2]:.0f} mm"),
        ],
    }


def _shown(value: float | None, unit: str = "") -> str:
    return "not measurable" if value is None else f"{value:.1f}{unit}"


def mosaic_png(image: Image) -> str:
    """Mosaic of twelve axial slices in radiological convention (patient's right on the left).

    Parameters
    ----------
    image : Image
        Any orientation; fewer slices are shown if it has fewer.

    Returns
    -------
    str
        PNG, base64-encoded, without the prefix of a data URI.
    """
    turned = image.reoriented("LPS")  # columns to the patient's left, rows to posterior: radiological convention
    depth = turned.grid.shape[2]
    count = _MOSAIC_ROWS * _MOSAIC_COLUMNS
    picked = np.unique(np.linspace(0.06 * depth, 0.94 * depth - 1, count).round().astype(int).clip(0, depth - 1))
    columns, rows, slices = (n // 4 for n in turned.grid.shape)
    # the intensity window is that of the brain; scalp fat would make the brain too dark
    middle = turned.data[columns : -columns or None, rows : -rows or None, slices : -slices or None]
    low, high = 0.0, 1.2 * float(np.percentile(middle, 99)) or 1.0
    figure = Figure(figsize=(12, 4.4), facecolor="black")
    aspect = turned.grid.spacing_mm[1] / turned.grid.spacing_mm[0]
    for number, index in enumerate(picked):
        axes = figure.add_subplot(_MOSAIC_ROWS, _MOSAIC_COLUMNS, number + 1)
        axes.imshow(turned.data[:, :, index].T, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        axes.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    return _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
