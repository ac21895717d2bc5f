"""``mri-pipeline evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.mask_label import MaskLabel
from reading_centre.command_options import AsJson, require_writable
from reading_centre.console import emit, say


def evaluate(
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for evaluation.html and the CSV files.", callback=require_writable),
    ],
    predicted: Annotated[Path | None, typer.Option("--predicted", help="Folder of predicted masks.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Folder of reference masks with the same file names.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="CSV instead of the folders: case, predicted, reference; optionally tuned_on (yes: the method was "
            "tuned on this case).",
        ),
    ] = None,
    label: Annotated[
        MaskLabel,
        typer.Option("--label", help="Lesions to score in the output of bids, run or segment (BH: black holes)."),
    ] = MaskLabel.T2_LESION,
    data: Annotated[str, typer.Option("--data", help="Name of the data, for the report.")] = "Data not named",
    as_json: AsJson = False,
) -> None:
    """Score predicted against reference lesion masks: Dice, volume, detection by lesion size.

    The command writes a report and CSV files. The report and the tables contain the file names, or the
    cases of the CSV. Use codes, not names of patients.
    """
    from reading_centre.use_cases.analysis import evaluate as evaluation
    from reading_centre.use_cases.analysis.mask_pairs import pairs_of_csv, pairs_of_folders

    if pairs is not None and predicted is None and reference is None:
        if pairs.name in evaluation.TABLES and pairs.absolute().parent == out.absolute():
            raise UsageError(
                f"--out: expected another folder than that of --pairs, found the same: it would overwrite {pairs.name}"
            )
        chosen = pairs_of_csv(pairs)
    elif pairs is None and predicted is not None and reference is not None:
        chosen = pairs_of_folders(predicted, reference, label=label)
    else:
        given = {"--predicted": predicted, "--reference": reference, "--pairs": pairs}
        found = " and ".join(name for name, path in given.items() if path is not None) or "none of them"
        raise UsageError(f"expected either --predicted and --reference, or --pairs, found {found}")
    summary = evaluation.evaluate(chosen, out, data=data)
    if as_json:
        emit(summary)
    else:
        say(", ".join(f"{name}: {'-' if value is None else value}" for name, value in summary.items()))
