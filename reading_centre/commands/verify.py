"""``mri-pipeline verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from reading_centre.command_options import AsJson
from reading_centre.console import emit, say


def verify(
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Output of 'bids', or a trial.")],
    as_json: AsJson = False,
) -> None:
    """Recompute the digests of scans and results, and compare them with the provenance of the analysis."""
    from reading_centre.use_cases.analysis.verify import verify_results

    found = verify_results(out_dir)
    if as_json:
        emit(found.as_dict())
    else:
        for name, versions in found.other_software.items():
            say(f"{name}: {versions}")
        for subject in found.failed:
            say(f"sub-{subject}: the last analysis failed, no results")
        for name in found.absent:
            say(f"{name}: not at hand, not compared")
        for deviation in found.deviations:
            say(deviation)
    if found.deviations:
        count = len(found.deviations)
        raise UsageError(
            f"expected results as in their provenance, found {count} deviation{'s' if count > 1 else ''}",
            hint="analyse the named subjects again",
        )
    if not as_json:
        say(f"{found.subjects} subjects: {found.outputs} results and {found.inputs} scans as in the provenance")
