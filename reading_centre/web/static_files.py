"""The scripts and styles of the pages. Their addresses have a digest, so that a browser loads them once a version."""

from __future__ import annotations

import hashlib
from mimetypes import guess_type
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

STATIC: Final = "/static/"
_KEPT: Final = "max-age=31536000, immutable"


class StaticFiles:
    """An ASGI application with the files of a folder, which are read once.

    Parameters
    ----------
    folder : Path

    Notes
    -----
    One digest stands for all files: modules that import each other by relative addresses are of one version.
    """

    def __init__(self, folder: Path) -> None:
        contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        self._root = f"{STATIC}{digest.hexdigest()[:16]}/"
        self._files = {self._root + name: (content, _type_of(name)) for name, content in contents.items()}

    def address(self, name: str) -> str:
        """The address of a file.

        Parameters
        ----------
        name : str
            Path within the folder.

        Returns
        -------
        str

        Raises
        ------
        KeyError
            If there is no such file.
        """
        address = self._root + name
        if address not in self._files:
            raise KeyError(name)
        return address

    def modules(self, folder: str) -> list[str]:
        """The addresses of the scripts of a folder, for a page that loads them at once.

        Parameters
        ----------
        folder : str
            Path within the folder.

        Returns
        -------
        list of str
        """
        return [one for one in self._files if one.startswith(f"{self._root}{folder}/") and one.endswith(".js")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] not in self._files:
            raise HTTPException(404, "Expected a file of this version, found none. Reload the page.")
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, "Method Not Allowed")
        content, kind = self._files[scope["path"]]
        await Response(content, media_type=kind, headers={"Cache-Control": _KEPT})(scope, receive, send)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _type_of(name: str) -> str:
    return "text/javascript" if name.endswith(".js") else guess_type(name)[0] or "application/octet-stream"
