"""A private PostgreSQL server for tests: a Unix socket in a temporary folder, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Folder of initdb and pg_ctl; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    known = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in known if (folder / "pg_ctl").exists()), None)


@contextmanager
def server(bin_folder: Path) -> Iterator[str]:
    """Run a server; yield the URL of its first database."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        folder, user = Path(name), None
        if os.geteuid() == 0:  # the server refuses to run as root
            user = next(u for u in ("postgres", "nobody") if u in {entry.pw_name for entry in pwd.getpwall()})
            shutil.chown(folder, user)

        def call(*arguments: object) -> None:
            subprocess.run(
                [str(a) for a in arguments], check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder
            )

        data, log = folder / "data", folder / "log"
        call(bin_folder / "initdb", "-D", data, "-A", "trust", "-U", "mri", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        call(bin_folder / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://mri@/postgres?host={folder}"
        finally:
            call(bin_folder / "pg_ctl", "-D", data, "-m", "immediate", "stop")
