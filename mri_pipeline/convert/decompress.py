"""Decompression of DICOM files in a separate process (`mri_pipeline.convert.decode_worker`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pydicom

from mri_pipeline.convert.frames import damage_is_a_refusal
from mri_pipeline.core.errors import UnreadableUploadError

DECODE_BASE_S: Final = 60
DECODE_PER_MB_S: Final = 2
"""Processor time of the decoding process in seconds. It grows with the size of the compressed files."""


def decompressed(folder: Path, out: Path) -> tuple[Path, ...]:
    """Files of a folder in an uncompressed transfer syntax.

    Compressed files are decoded in a separate process with limits: a damaged stream can crash a decoder.

    Parameters
    ----------
    folder : Path
        Contains DICOM files and nothing else.
    out : Path
        New folder for the decoded files.

    Returns
    -------
    tuple of Path
        Sorted by name; the files of `folder` itself if none is compressed.

    Raises
    ------
    UnreadableUploadError
        If a file cannot be read or decoded.
    """
    files = tuple(sorted(p for p in folder.iterdir() if p.is_file()))
    with damage_is_a_refusal():
        syntaxes = {
            pydicom.dcmread(
                p, force=True, specific_tags=["Rows"], stop_before_pixels=True
            ).file_meta.TransferSyntaxUID
            for p in files
        }
    if not any(syntax.is_encapsulated for syntax in syntaxes):
        return files
    out.mkdir(parents=True)
    seconds = DECODE_BASE_S + DECODE_PER_MB_S * (sum(p.stat().st_size for p in files) >> 20)
    request = {"files": [[str(p), str(out / p.name)] for p in files], "cpu_s": seconds}
    environment = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH", "LANG") if k in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "mri_pipeline.convert.decode_worker"],
            input=json.dumps(request), text=True, capture_output=True, timeout=3 * seconds, check=False,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, cwd="/",
        )  # fmt: skip
        fault = done.returncode != 0
    except subprocess.TimeoutExpired:
        fault = True
    decoded = tuple(sorted(out.iterdir()))
    if fault or len(decoded) != len(files):
        raise UnreadableUploadError(
            f"expected {len(files)} compressed images that can be decoded, found a damaged one",
            hint="export the series again, uncompressed if possible",
        )
    return decoded
