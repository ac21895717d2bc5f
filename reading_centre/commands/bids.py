"""``mri-pipeline bids``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reading_centre.console import (
    AsJson,
    PluginName,
    Processes,
    SegmenterFile,
    progress_bar,
    report_batch,
    say_paths,
)
from workflows.engine import Plugin


class Level(StrEnum):
    """Analysis level of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="A BIDS dataset with anatomical scans.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The derivative dataset to write.")],
    level: Annotated[Level, typer.Argument(help="participant: analyse; group: make the tables.")],
    participant_label: Annotated[
        list[str] | None, typer.Option("--participant-label", help="Without 'sub-'; may be given again.")
    ] = None,
    nprocs: Processes = 1,
    plugin: PluginName = Plugin.MULTIPROC,
    work_dir: Annotated[Path | None, typer.Option("--work-dir", help="Cache. Default: OUT_DIR/work.")] = None,
    segmenter: SegmenterFile = None,
    as_json: AsJson = False,
) -> None:
    """Analyse a BIDS dataset (BIDS App): no registry, no readers; sessions in the order of their labels."""
    from mri_pipeline.core.protocol import load_segmenter
    from reading_centre.use_cases import bids as bids_app

    labels = tuple(participant_label or ())
    if level is Level.GROUP:
        say_paths(bids_app.write_group_tables(bids_dir, out_dir, labels=labels), as_json=as_json)
        return
    with progress_bar("subjects") as progress:
        outcome = bids_app.run_participants(
            bids_dir,
            out_dir,
            labels=labels,
            nprocs=nprocs,
            plugin=plugin,
            work_dir=work_dir,
            segmenter=load_segmenter(segmenter) if segmenter else None,
            progress=progress,
        )
    report_batch(outcome, as_json=as_json)
