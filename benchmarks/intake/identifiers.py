"""100 seeded identifiers in an upload: none may be in an output, a message or a log.

    PYTHONPATH=. python benchmarks/intake/identifiers.py WORK [--head DICOM_FOLDER] [--seed 0]

Names, numbers, dates and addresses are written into elements of every text kind, private elements, nested sequences,
the preamble, the file meta information, file and folder names, a text file, the trial number. The commands of the gate
accept and refuse such uploads, with log file and ``-v``: ``dummy-run``, ``ingest`` (also refused, with an identity
alarm, as a dry run, by manifest), ``quarantine``, ``query``, ``status``, ``audit``. With ``--head``, a visit of a real
head (such as an upload of ``mri-pipeline demo``), it is analysed and exported as a worklist, too.

All files of the trial, the worklist, the logs and the printed lines are searched, unpacked, in common encodings, in any
case. The copies of refused uploads in ``quarantine/`` are not searched, and ``sealed/`` may hold the trial number. The
script prints what was searched and found, never an identifier, and exits with 1 if one was found.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mri_pipeline.core.layout import Trial
from mri_pipeline.intake.allowed import KEPT
from tests.unit.ingest_trial import COMMAND, SMALL, new_trial, upload

COUNT = 100
TEXT_VRS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}
SPECIAL = 10
"""Identifiers that stand in other places than elements of the dictionary."""

_RUN = re.compile(rb"[ -~]{7,}")
"""No identifier is shorter."""

_READ = {
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "ContrastBolusAgent",
    "StudyDescription",
    "Manufacturer",
}
"""Texts by which series are recognised; an identifier is added to some of them."""


def identifiers(rng: np.random.Generator) -> list[str]:
    """Distinct names, numbers, dates and addresses that occur nowhere else."""
    made: list[str] = []
    while len(made) < COUNT:
        letters = "".join(rng.choice(list("bcdfghjklmnpqrstvwxz"), int(rng.integers(7, 11))))
        digits = "".join(map(str, rng.integers(1, 10, 9)))
        date = f"{rng.integers(1930, 2010)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
        made.append((letters.capitalize(), digits, date, f"{letters}@{digits[:4]}.example")[len(made) % 4])
    return made


def elements(rng: np.random.Generator) -> list[int]:
    """Tags of text elements that de-identification removes."""
    tags = [
        tag
        for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items())
        if vr in TEXT_VRS and keyword and keyword not in KEPT | _READ and tag >> 16 > 0x0007
    ]
    return [int(tag) for tag in rng.choice(tags, COUNT - SPECIAL, replace=False)]


def plant(folder: Path, words: list[str], tags: list[int]) -> None:
    """Write the identifiers into every file of a folder."""
    special, plain = words[:SPECIAL], words[SPECIAL:]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        dataset = pydicom.dcmread(path)
        for number, (tag, word) in enumerate(zip(tags, plain, strict=True)):
            vr = pydicom.datadict.dictionary_VR(tag)
            text = word[:16] if vr == "SH" else word
            if number % 5 == 4:  # in a nested sequence
                item, inner = Dataset(), Dataset()
                inner.add_new(tag, vr, text)
                item.ScheduledProtocolCodeSequence = Sequence([inner])
                dataset.add_new(0x0040_0275, "SQ", [*(dataset.get("RequestAttributesSequence") or []), item])
            elif tag not in dataset:
                dataset.add_new(tag, vr, text)
        dataset.PatientName, dataset.PatientID = f"{special[0]}^{special[4]}", special[1]
        dataset.PatientBirthDate = special[2]
        dataset.ProtocolName = f"{dataset.get('ProtocolName', '')} {special[0]}".strip()
        dataset.SeriesDescription = f"{dataset.get('SeriesDescription', '')} {special[4]}".strip()
        block = dataset.private_block(0x0019, "SEEDED", create=True)
        block.add_new(0x10, "OB", special[5].encode().ljust(10, b"\0"))
        block.add_new(0x11, "LO", special[8])
        dataset.preamble = special[3][:60].encode().ljust(128, b"\0")
        dataset.file_meta.SourceApplicationEntityTitle = special[6][:16]
        dataset.save_as(path)
        path.rename(path.with_name(f"{special[0]}_{path.name}"))
    (folder / f"{special[4]}.txt").write_text(f"{special[7]} {special[0]}")


class Runner:
    """Runs commands and keeps what they print."""

    def __init__(self, work: Path) -> None:
        self.log, self.printed = work / "log.txt", work / "printed.txt"
        self.count = 0

    def __call__(self, *arguments: object, code: int = 0) -> None:
        """Run a command and check its exit code."""
        command = [*COMMAND, "-v", "--log-file", str(self.log), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False)
        with self.printed.open("ab") as file:
            file.write(done.stdout + done.stderr)
        self.count += 1
        if done.returncode != code:
            sys.exit(f"expected exit code {code} of {arguments[0]}, found {done.returncode}: see {self.printed}")


def forms(word: str) -> list[str]:
    if word.isdigit() and len(word) == 8:
        year, month, day = word[:4], word[4:6], word[6:]
        return [word, f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"]
    return [word]


def contents(path: Path) -> list[bytes]:
    data = path.read_bytes()
    found = [path.name.encode(), data]
    if data.startswith(b"\x1f\x8b"):
        found.append(gzip.decompress(data))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found += [archive.read(name) for name in archive.namelist()]
    return found


def search(paths: list[Path], words: list[str]) -> list[tuple[Path, int]]:
    """File and number of each identifier that is found."""
    numbers = {form.lower().encode(): number for number, word in enumerate(words) for form in forms(word)}
    pattern = re.compile(b"|".join(map(re.escape, numbers)))
    hits = []
    for path in paths:
        found = {numbers[one] for content in contents(path) for one in pattern.findall(text_of(content))}
        hits += [(path, number) for number in sorted(found)]
    return hits


def text_of(content: bytes) -> bytes:
    """All runs of printable characters, in lower case, each on a line.

    Voxels hold few, so that the identifiers are searched in a small part of a volume. Without its zero bytes, UTF-16 is
    ASCII.
    """
    return b"\n".join(_RUN.findall(content.translate(None, b"\0"))).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work, rng = options.work.resolve(), np.random.default_rng(options.seed)
    work.mkdir(parents=True)
    words, tags = identifiers(rng), elements(rng)
    run, number = Runner(work), words[9]
    trial = new_trial(work / "trial")
    sent = work / "sent" / words[0]
    if options.head:
        shutil.copytree(options.head, sent / "wk00")
    else:
        upload(sent / "wk00")
    weak = tuple(replace(spec, field_t=1.0) for spec in SMALL)
    upload(sent / "weak", seed=1, specs=weak), upload(sent / "dummy", seed=2), upload(sent / "alarm", seed=3)
    upload(sent / "again", seed=4)
    for folder in sorted(sent.iterdir()):
        plant(folder, words, tags)
    for path in (sent / "alarm").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SoftwareVersions = f"syngo {words[0]}"
        dataset.save_as(path)
    visit = ["--site", "S01", "--subject", number, "--visit", "wk00"]
    run("ingest", trial.root, sent / "wk00", *visit, "--dry-run")
    run("ingest", trial.root, sent / "wk00", *visit)
    run("ingest", trial.root, sent / "wk00", *visit, "--json")
    run("ingest", trial.root, sent / "again", *visit, code=2)
    run("ingest", trial.root, sent / "nothing", *visit, code=2)
    later = [*visit[:-1], "wk04"]
    run("ingest", trial.root, sent / "weak", *later, code=3)
    run("ingest", trial.root, sent / "alarm", *later, code=3)
    manifest = work / "sent" / "manifest.csv"
    rows = (f"S01,{number},wk00,{sent / 'wk00'},yes", f"S01,{number},wk04,{sent / 'weak'},")
    manifest.write_text("\n".join(["site,subject,visit,upload,before_infusion", *rows, ""]))
    run("ingest", trial.root, "--manifest", manifest, "--results", work / "results.csv", code=3)
    for command in (["quarantine", "list"], ["query", "list"], ["audit", "show"], ["status"], ["audit", "verify"]):
        run(*command, trial.root)
    for entry in sorted(trial.quarantine.iterdir()):
        run("quarantine", "show", trial.root, entry.name, "--json")
    if options.head:
        run("run", trial.root)
        run("read", trial.root, "--export", work / "worklist")
        run("tables", trial.root, "--provisional")
    run("dummy-run", trial.root, sent / "dummy", "--site", "S01", code=3)  # no heads; the report is written
    searched = [
        path
        for path in work.rglob("*")
        if path.is_file() and work / "sent" not in path.parents and not _is_copy(path, trial)
    ]
    hits = search([path for path in searched if path != trial.registry_file], words)
    hits += search([trial.registry_file], words)
    hits = [(path, n) for path, n in hits if not (n == 9 and trial.sealed in path.parents)]
    print(f"{run.count} commands, {COUNT} identifiers, {len(searched)} files searched, {len(hits)} found")
    for path, n in hits:
        print(f"  identifier {n} in {path.relative_to(work).as_posix() if n else path.suffix}")
    sys.exit(bool(hits))


def _is_copy(path: Path, trial: Trial) -> bool:
    """Part of a copy of a refused upload."""
    return trial.quarantine in path.parents and path.name != "reason.json"


if __name__ == "__main__":
    main()
