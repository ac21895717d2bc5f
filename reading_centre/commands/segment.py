"""``mri-pipeline segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reading_centre.command_options import AsJson, Calibrate, SegmenterFile, require_writable
from reading_centre.console import emit, say


def segment(
    flair: Annotated[Path, typer.Option("--flair", help="FLAIR; the masks are written on its grid.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the masks and lesions.csv.", callback=require_writable)
    ],
    t1: Annotated[Path | None, typer.Option("--t1", help="T1 before contrast.")] = None,
    t1_gd: Annotated[Path | None, typer.Option("--t1-gd", help="T1 after gadolinium.")] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="T2.")] = None,
    brain_mask: Annotated[
        Path | None, typer.Option("--brain-mask", help="Brain mask on the grid of the FLAIR.")
    ] = None,
    segmenter: SegmenterFile = None,
    calibrate: Calibrate = False,
    as_json: AsJson = False,
) -> None:
    """Segment one visit: T2 lesions, enhancing lesions and black holes on the grid of the FLAIR."""
    from mri_pipeline.core.segmenters import load_segmenter
    from reading_centre.use_cases.analysis.segment import segment_files

    summary = segment_files(
        flair=flair,
        t1=t1,
        t1_gd=t1_gd,
        t2=t2,
        brain_mask=brain_mask,
        out=out,
        calibrate=calibrate,
        segmenter=load_segmenter(segmenter) if segmenter else None,
    )
    if as_json:
        emit(summary)
    else:
        say(", ".join(f"{name}: {'-' if value is None else value}" for name, value in summary.items()))
