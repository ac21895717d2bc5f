"""Hooks of MkDocs: pages that lie outside docs/ become part of the site, and links to them are kept."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

EXTERNAL = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "benchmarks/accuracy.md": "benchmarks/accuracy/README.md",
    "benchmarks/serial.md": "benchmarks/serial/README.md",
    "benchmarks/registration.md": "benchmarks/registration/README.md",
}
"""Page of the site and the file in the repository that it is made from."""

_PAGES = {source: page for page, source in EXTERNAL.items()} | {"README.md": "index.md"}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the external pages."""
    for page, source in EXTERNAL.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    folder = posixpath.dirname(EXTERNAL.get(uri, f"docs/{uri}"))

    def linked(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        to = _PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{match[2] or ''})"

    return _LINK.sub(linked, markdown)
