"""Read the headers of an upload in a separate process with limits."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mri_pipeline.core.errors import UnreadableUploadError
from mri_pipeline.intake.facts import Fault, FileReport, InstanceFacts


@dataclass(frozen=True)
class ReadLimits:
    """Limits of the reading process. Times grow with the number of files; they end hangs, not slow machines.

    Parameters
    ----------
    memory_bytes : int
        Address space of the process.
    base_s, per_file_s : float
        Processor time in seconds, and the addition for each file. Three times as much elapsed time is allowed.
    max_crashes : int
        After this number of crashes, the remaining files are not read.
    """

    memory_bytes: int = 3 << 30
    base_s: int = 60
    per_file_s: float = 0.2
    max_crashes: int = 3


@dataclass(frozen=True)
class HeaderReading:
    """The headers of an upload.

    Parameters
    ----------
    instances : tuple of InstanceFacts
        Of whole files, in the order of the files.
    broken : tuple of FileReport
        DICOM files that cannot be used, each with its fault. It has facts if its header can be read.
    skipped : mapping of str to int
        Number of skipped files by reason: ``dicomdir``, ``not_dicom``, ``not_image``, ``other_object``.
    """

    instances: tuple[InstanceFacts, ...]
    broken: tuple[FileReport, ...]
    skipped: dict[str, int]

    @property
    def readable(self) -> tuple[InstanceFacts, ...]:
        """Facts of all files with a readable header, with those of damaged files, in the order of the files."""
        damaged = (report.facts for report in self.broken if report.facts is not None)
        return (*self.instances, *damaged)

    def damaged_outside(self, needed: Collection[Path]) -> tuple[FileReport, ...]:
        """Damaged files of series that are not needed.

        Parameters
        ----------
        needed : collection of Path
            Files of the chosen series.

        Returns
        -------
        tuple of FileReport
            Without files whose header ends before their geometry: their series is not certain.
        """
        series = {facts.series_key for facts in self.readable if facts.path in needed}
        return tuple(
            report
            for report in self.broken
            if (facts := report.facts) is not None
            and facts.orientation is not None
            and facts.rows > 0
            and facts.series_key not in series
        )

    def require_whole(self, needed: Collection[Path] | None = None) -> None:
        """Refuse an upload with a damaged DICOM file or without an image.

        Parameters
        ----------
        needed : collection of Path, optional
            Files of the chosen series. Damaged files of other series are ignored (`damaged_outside`). Default: all
            files are needed.

        Raises
        ------
        UnreadableUploadError
            With counts, and with series and fault of the first file. The site sends the visit again, so that no
            incomplete visit is analysed.
        """
        ignored = () if needed is None else self.damaged_outside(needed)
        broken = [report for report in self.broken if report not in ignored]
        if broken:
            faults = Counter(report.fault.value for report in broken if report.fault)
            message = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
            raise UnreadableUploadError(
                f"expected whole DICOM files, found {message} of {len(self.instances) + len(self.broken)} "
                f"(first: {broken[0].where})",
                hint="export the visit from the scanner or PACS again and upload it again",
            )
        if not self.readable:
            others = sum(self.skipped.values())
            raise UnreadableUploadError(
                f"expected DICOM images, found none among {others} files",
                hint="upload the DICOM files as they come from the scanner or PACS",
            )


_SKIPPED = {
    "archive": "program or document archive",
    "dicomdir": "DICOM directory",
    "not_dicom": "no DICOM",
    "not_image": "DICOM object without an image",
    "other_object": "DICOM object of another kind (spectroscopy, parametric map, segmentation)",
}


def left_out(skipped: Mapping[str, int], damaged: Sequence[FileReport]) -> tuple[str, ...]:
    """What was not used of an upload, and why.

    Parameters
    ----------
    skipped : mapping of str to int
        As `HeaderReading.skipped`; ``archive`` from `mri_pipeline.intake.unpack.Unpacked.left_out`.
    damaged : sequence of FileReport
        Damaged files of series that are not needed.

    Returns
    -------
    tuple of str
        One line for each reason.

    Examples
    --------
    >>> left_out({"not_dicom": 2}, [])
    ('left out: 2 files (no DICOM)',)
    """
    lines = [f"left out: {_files(count)} ({_SKIPPED[reason]})" for reason, count in sorted(skipped.items())]
    faults = Counter((report.where, report.fault.value) for report in damaged if report.fault)
    lines += [
        f"left out: {_files(count)} {fault} in a series that is not needed ({where})"
        for (where, fault), count in sorted(faults.items())
    ]
    return tuple(lines)


def _files(count: int) -> str:
    return f"{count} file" + "s" * (count != 1)


def read_headers(
    files: Sequence[Path], *, key: bytes = b"", browser_key: bytes = b"", limits: ReadLimits | None = None
) -> HeaderReading:
    """Read headers of untrusted DICOM files.

    Parameters
    ----------
    files : sequence of Path
        The files of the upload.
    key : bytes, optional
        Secret of the digests in `InstanceFacts`. With the secret of the trial, digests of a scanner or patient are
        equal in all uploads. Without it, a random secret is used for this call.
    browser_key : bytes, optional
        Key of the pseudonyms of the site (`mri_pipeline.intake.header_worker.read_one`).
    limits : ReadLimits, optional

    Returns
    -------
    HeaderReading
        Call `HeaderReading.require_whole` before use.
    """
    limits = limits or ReadLimits()
    key = key or secrets.token_bytes(32)
    waiting = list(enumerate(files))
    reports: list[FileReport] = []
    crashes = 0
    while waiting:
        done = _run_worker(waiting, key, browser_key, limits)
        reports += done
        waiting = waiting[len(done):]  # fmt: skip
        if waiting:
            index, _ = waiting.pop(0)  # the file at which the worker ended
            reports.append(
                FileReport(index=index, fault=Fault.CRASHED, detail="it exceeded the limit of time or memory")
            )
            crashes += 1
            if crashes >= limits.max_crashes:
                break
    return HeaderReading(
        instances=tuple(r.facts for r in reports if r.facts is not None and r.fault is None),
        broken=tuple(r for r in reports if r.fault is not None),
        skipped=dict(Counter(r.skipped for r in reports if r.skipped)),
    )


def _run_worker(
    waiting: Sequence[tuple[int, Path]], key: bytes, browser_key: bytes, limits: ReadLimits
) -> list[FileReport]:
    seconds = limits.base_s + round(limits.per_file_s * len(waiting))
    request = {
        "files": [(index, str(path)) for index, path in waiting],
        "key": key.hex(),
        "browser_key": browser_key.hex(),
        "memory_bytes": limits.memory_bytes,
        "cpu_s": seconds,
    }
    environment = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH", "LANG") if k in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answers:
        # answers go to a file, so that those before a crash or a time-out remain readable
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-I", "-m", "mri_pipeline.intake.header_worker"],
                input=json.dumps(request), text=True, stdout=answers, stderr=subprocess.DEVNULL,
                timeout=3 * seconds, check=False, env=environment, cwd="/",
            )  # fmt: skip
        answers.seek(0)
        return _parsed(answers.read())


def _parsed(answers: str) -> list[FileReport]:
    reports = []
    for line in answers.splitlines():
        try:
            reports.append(FileReport.model_validate_json(line))
        except ValidationError:
            break  # a line truncated by a crash
    return reports
