"""Every row by which the lesion steps are judged, in one table beside the figures of version 0.1.0 and the goals.

Usage::

    python -m benchmarks.accuracy SHARED_DATA WORK [--rows ROW ...] [--models FOLDER]

Each row is a script of this folder or of `../serial`, run with its defaults unless `ROWS` says otherwise. Its output is
kept in WORK/ROW. A row is run again only if the program, the scripts, the models or its arguments have changed, so
that an interrupted run resumes. WORK/figures.json holds all figures; the table is printed.

FOLDER holds the models without each patient (`published.learned`), which the training scripts write::

    python training/t2_basins.py SHARED_DATA --apart FOLDER/t2 --out FOLDER/t2.json
    python training/gel_nodes.py SHARED_DATA --apart FOLDER/gel --out FOLDER/gel.json

`gate` needs the program ``bidsgate`` on the PATH (`injection_gate.py`).
`rescan`, `pairs` and `serial` analyse whole subjects by ``mri-pipeline bids`` with the models of the package.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.provenance import code_digest

HERE = Path(__file__).parent
EARLIER = HERE / "version_0_1_0.json"
OUTPUT = "output.txt"
QUIET_VISITS = 7
Figures = dict[str, str]


def share(found: Iterable[Any]) -> str:
    """Number of true values, of all."""
    values = [bool(value) for value in found]
    return f"{sum(values)} of {len(values)}"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def segmentation(folder: Path) -> Figures:
    """Dice and F1 of each case, and recall by size at 1 mm."""
    figures = {}
    for part, words in (("published", "1 mm"), ("slices_3mm", "3 mm"), ("reference_trial", "simulated")):
        with (folder / "out" / part / "cases.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, column in (("dice", "dice"), ("f1", "lesion_f1")):
                    figures[f"{row['case']}, {words}: {name}"] = row[column]
    with (folder / "out" / "published" / "sizes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["rule"] == "10 % rule":
                figures[f"{row['volume_mm3']} mm³, 1 mm: found"] = f"{row['found']} of {row['reference_lesions']}"
    return figures


def insertion(folder: Path) -> Figures:
    """Lesions found of each size, and false lesions of heads without inserted lesions."""
    rows, figures = lines_of(folder / "out.jsonl"), {}
    for slices in sorted({row["slices"] for row in rows}):
        put = [row for row in rows if row["slices"] == slices and "flair" in row]
        for low, high in ((48, 100), (100, 401)):
            of = [row["t2_found"] for row in put if low <= row["volume_mm3"] < high]
            figures[f"T2, {slices} mm, {low} to {high - (high == 401)} mm³"] = share(of)
        gel = [row for row in put if row["gel_found"] is not None]
        figures[f"GEL, {slices} mm"] = share(row["gel_found"] for row in gel)
        figures[f"GEL, {slices} mm, from 25 %"] = share(
            row["gel_found"] for row in gel if row["enhancement"] >= 0.25
        )
        for row in rows:
            if row["slices"] == slices and row.get("head") in {"untouched", "filled"} and "lesions" in row:
                kinds = {"t2": "t2", "t2_apart": "t2 apart from the filling", "gel": "gel", "holes": "holes"}
                for kind, name in kinds.items():
                    if f"false_{kind}" in row and (kind != "t2" or row["head"] == "filled"):
                        words = f"{row['head']} {row['case']}, {slices} mm: false {name}"
                        figures[words] = f"{row[f'false_{kind}']} ({row[f'false_{kind}_mm3']:.0f} mm³)"
    return figures


def injection_gate(folder: Path) -> Figures:
    """Lesions of a public test that are found, by size."""
    rows, figures = lines_of(folder / "work" / "lesions.jsonl"), {}
    for low, high in ((0, 100), (100, 500), (500, 10_000)):
        of = [row for row in rows if low <= row["volume_mm3"] < high]
        words = f"{low} to {high} mm³"
        figures[words] = share(row["found"] for row in of)
        figures[f"{words}, in white matter"] = share(row["found"] for row in of if row["in_white_matter"])
    return figures


def gel_insertion(folder: Path) -> Figures:
    """GEL found from 4.5 mm and 25 %, and those of the untouched scans."""
    rows, figures = lines_of(folder / "out.jsonl"), {}
    for slices in sorted({row["slices"] for row in rows}):
        here = [row for row in rows if row["slices"] == slices]
        aim = [r["found"] for r in here if r.get("diameter_mm", 0) >= 4.5 and r["enhancement"] >= 0.25]
        figures[f"{slices} mm, from 4.5 mm and 25 %"] = share(aim)
        for row in here:
            if row.get("lesions") == 0:
                figures[f"untouched {row['patient']}, {slices} mm: GEL"] = str(len(row["false"]))
    return figures


def new_lesions(folder: Path) -> Figures:
    """New lesions found from 5 mm, and false ones, of two and of three visits."""
    rows = lines_of(folder / "out.jsonl")
    figures = {}
    for visits in (2, 3):
        subjects = [row for row in rows if "false_mm3" in row and row["visits"] == visits]
        put = [row for row in rows if "found" in row and row["visits"] == visits]
        large = [row for row in put if row["diameter_mm"] >= 5]
        figures |= {
            f"{visits} visits, from 5 mm, {key}": share(row[key] for row in large)
            for key in ("found", "covered", *(("late", "kept") if visits > 2 else ()))
        }
        figures[f"{visits} visits, below 5 mm, found"] = share(
            row["found"] for row in put if row["diameter_mm"] < 5
        )
        for quiet in (False, True):
            false = sum(len(row["false_mm3"]) for row in subjects if row["quiet"] is quiet)
            figures[f"{visits} visits, {'quiet' if quiet else 'active'}: false"] = str(false)
    series = [row for row in rows if "false_mm3" in row and row["visits"] == QUIET_VISITS]
    if series:
        figures[f"{QUIET_VISITS} visits, quiet: false"] = str(sum(len(row["false_mm3"]) for row in series))
    return figures


def rescan(folder: Path) -> Figures:
    """Change of T2 volume, and false changes, of each pair."""
    figures = {}
    for line in (folder / OUTPUT).read_text(encoding="utf-8").splitlines():
        if found := re.match(r"(\S+x\dmm)\s+\S+\s+\S+\s+(\S+) %\s+(\S+)\s+(\S+)", line):
            case, change, new, enlarging = found.groups()
            figures |= {f"{case}: T2 volume": f"{change} %", f"{case}: false new": new}
            figures[f"{case}: false enlarging"] = enlarging
    return figures


def printed_pairs(folder: Path) -> Figures:
    """Change between two visits of real patients."""
    figures = {}
    for line in (folder / OUTPUT).read_text(encoding="utf-8").splitlines():
        if line.startswith("patient "):
            cells = dict(cell.split(" ", 1) for cell in line.split("  "))
            for name in ("dice", "recall_from_50_mm3", "precision_from_50_mm3"):
                figures[f"{cells['patient']}: {name}"] = cells.get(name, "failed")
    return figures


def serial(folder: Path) -> Figures:
    """Sensitivity, precision and F1 of lesions from 5 mm, and false lesions of quiet pairs."""
    figures, dimension = {}, ""
    for line in (folder / OUTPUT).read_text(encoding="utf-8").splitlines():
        if found := re.match(r"(\dD): ", line):
            dimension = found[1]
        elif found := re.match(r"(\w+) +5 to inf +(\S+) = \S+ +(\S+) = \S+ +(\S+)", line):
            kind, *values = found.groups()
            names = (f"{dimension}, {kind}: {name}" for name in ("found", "right", "F1"))
            figures |= dict(zip(names, values, strict=True))
        elif found := re.match(r"quiet, (.*): (\d+ pairs), false: (.*)", line):
            figures[f"{dimension}, quiet, {found[1]}, {found[2]}: false"] = found[3]
    return figures


@dataclass(frozen=True)
class Row:
    """A script with its arguments, and how its figures are read from the folder of its output.

    In the arguments DATA, OUT and MODELS stand for the data, the folder of the row and the option ``--models``.
    """

    commands: tuple[tuple[str, ...], ...]
    figures: Callable[[Path], Figures]


ROWS: Mapping[str, Row] = {
    "segmentation": Row((("segmentation.py", "DATA", "OUT/out", "MODELS"),), segmentation),
    "insertion": Row(
        (("white_matter_insertion.py", "DATA", "OUT/out.jsonl", "--heads", "2", "MODELS"),), insertion
    ),
    "gel": Row((("gel_insertion.py", "DATA", "OUT/out.jsonl", "--heads", "3", "MODELS"),), gel_insertion),
    "new": Row(
        (("../serial/new_lesions.py", "DATA", "OUT/out.jsonl", "--quiet-visits", str(QUIET_VISITS), "MODELS"),),
        new_lesions,
    ),
    "rescan": Row((("rescan.py", "DATA", "OUT/work"),), rescan),
    "pairs": Row((("../real_pairs.py", "DATA", "OUT/work"),), printed_pairs),
    "serial": Row(
        (
            ("../serial/proof.py", "run", "OUT/work", "OUT/out.jsonl"),
            ("../serial/proof.py", "summary", "OUT/out.jsonl"),
        ),
        serial,
    ),
    "gate": Row((("injection_gate.py", "DATA", "OUT/work", "MODELS"),), injection_gate),
}


def digest(row: Row, data: Path, models: Path | None) -> str:
    """Digest of all that the figures of a row depend on, apart from the data."""
    files = sorted([*HERE.glob("*.py"), *HERE.parent.glob("serial/*.py"), HERE.parent / "real_pairs.py"])
    files += sorted(models.rglob("without_*.json")) if models else []
    known = [code_digest(), str(row.commands), str(data.resolve())]
    known += [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file != Path(__file__)]
    return hashlib.sha256("\0".join(known).encode()).hexdigest()


def run(row: Row, folder: Path, data: Path, models: Path | None) -> Figures:
    """Figures of a row; its script is run if nothing valid is kept."""
    kept, wanted = folder / "figures.json", digest(row, data, models)
    if kept.exists():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        if stored["digest"] == wanted:
            return dict(stored["figures"])
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    with (folder / OUTPUT).open("w", encoding="utf-8") as output:
        for script, *arguments in row.commands:
            full = [a.replace("DATA", str(data)).replace("OUT", str(folder)) for a in arguments if a != "MODELS"]
            full += ["--models", str(models)] if models and "MODELS" in arguments else []
            subprocess.run(
                [sys.executable, str((HERE / script).resolve()), *full], stdout=output, check=True, env=environment
            )
    figures = row.figures(folder)
    kept.write_text(
        json.dumps({"digest": wanted, "figures": figures}, indent=1, ensure_ascii=False), encoding="utf-8"
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2")
    arguments = parser.parse_args()
    if arguments.models is None:
        print("No --models: the learned models were made with these patients. Their figures are optimistic.")
    earlier = json.loads(EARLIER.read_text(encoding="utf-8"))
    path, figures = arguments.work / "figures.json", {}
    for name in arguments.rows:
        figures[name] = run(ROWS[name], arguments.work / name, arguments.data, arguments.models)
        path.write_text(json.dumps(figures, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"\n{name}\n{'':58s} {'0.1.0':>22s} {'now':>22s}  goal")
        for figure, now in figures[name].items():
            before = earlier["figures"].get(name, {}).get(figure, "-")
            print(f"  {figure:56s} {before:>22s} {now:>22s}  {goal(earlier['goals'].get(name, {}), figure)}")


def goal(goals: Mapping[str, str], figure: str) -> str:
    """The goal whose pattern matches a figure; empty if there is none."""
    return next((value for pattern, value in goals.items() if re.search(pattern, figure)), "")


if __name__ == "__main__":
    main()
