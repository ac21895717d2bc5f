"""A report as PDF, by Chromium without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import ExternalToolError, UsageError
from mri_pipeline.core.io.atomic import write_atomic

_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LONGEST_S: Final = 120


def chromium() -> str:
    """The path of Chromium or Chrome.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        If none is installed.
    """
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    raise UsageError(
        "expected Chromium for a PDF, found none",
        hint="install it (Debian: apt-get install chromium), or print the HTML file from a browser",
    )


def write_pdf(page: Path) -> Path:
    """Write a PDF beside a page, with everything unfolded.

    Parameters
    ----------
    page : Path
        HTML file without external parts.

    Returns
    -------
    Path
        The same name with ``.pdf``.

    Raises
    ------
    UsageError
        If Chromium is missing.
    ExternalToolError
        If it fails or does not end.
    """
    program = chromium()
    text = page.read_text(encoding="utf-8").replace("<details>", "<details open>")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.pdf"
        source.write_text(text, encoding="utf-8")
        command = [
            program, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={target}", source.as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:  # Chromium refuses to run as root with its sandbox
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LONGEST_S, check=False)
            failure = "" if target.is_file() else f"exit code {done.returncode}"
        except (subprocess.TimeoutExpired, OSError) as error:
            failure = type(error).__name__
        if failure:
            raise ExternalToolError(
                f"expected a PDF by Chromium, found none ({failure})", hint="print the HTML file from a browser"
            )
        return write_atomic(page.with_suffix(".pdf"), target.read_bytes())
