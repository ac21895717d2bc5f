"""Installation qualification (IQ) of the place of a trial: its file system, database and sealed folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mri_pipeline.blinding.secret import Secret
from mri_pipeline.core.errors import listed
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.registry import Registry, Use
from mri_pipeline.registry.audit import utc_now
from mri_pipeline.registry.schema import SCHEMA_VERSION
from reading_centre.qualification.checks import Check, Result, check
from reading_centre.use_cases.trial.audit_verify import verify_trial

FREE_GB: Final = 5.0
"""Free space, in 1e9 bytes: the digital reference trial and its copies take 1, a run of the trial asks for its own."""

_HOLDER: Final = (
    "import sys, time; from pathlib import Path; from mri_pipeline.core.io.locks import exclusive\n"
    "with exclusive(Path(sys.argv[1]), wait_s=0):\n    print('held', flush=True); time.sleep(600)"
)
_RENEWALS: Final = 20


@dataclass(frozen=True)
class Place:
    """Where a trial lies.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    scratch : Path
        New folder on the file system of the trial.
    """

    trial: Trial
    protocol: Protocol
    scratch: Path


@check("IQ-05", f"at least {FREE_GB:g} GB")
def free_space(place: Place) -> Result:
    """Measure the free space of the trial's disk.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    free = shutil.disk_usage(place.scratch).free / 1e9
    return free >= FREE_GB, f"{free:.1f} GB"


@check("IQ-06", "a file is replaced whole while it is read, and nothing is left beside it")
def atomic_replacement(place: Place) -> Result:
    """Replace a file repeatedly while it is open.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    folder = place.scratch / "replaced"
    path = folder / "file"
    contents = [bytes([number]) * 100_000 for number in range(_RENEWALS)]
    write_atomic(path, contents[0])
    for before, after in pairwise(contents):
        with path.open("rb") as earlier:
            write_atomic(path, after)
            if earlier.read() != before or path.read_bytes() != after:
                return False, "a mixture of both contents"
    left = [one.name for one in folder.iterdir() if one != path]
    return not left, f"{_RENEWALS - 1} replacements, whole" if not left else f"left: {listed(left)}"


@check("IQ-07", "a lock of another process excludes this one, and ends with that process")
def file_lock(place: Place) -> Result:
    """Try a lock that another process holds, kill it, and try again.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    path = place.scratch / "tried.lock"
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline() != "held\n":
                return False, "the other process got no lock"
            excluded = not _gets(path, wait_s=0)
        finally:
            holder.kill()
            holder.wait()
    released = _gets(path, wait_s=5)
    found = "excluded" if excluded else "not excluded"
    return (
        excluded and released,
        f"{found}; {'free' if released else 'not free'} after the other process was killed",
    )


def _gets(path: Path, *, wait_s: float) -> bool:
    try:
        with exclusive(path, wait_s=wait_s):
            return True
    except LockedError:
        return False


@check("IQ-08", "mode 0600 of a file and 0700 of a folder")
def access_rights(place: Place) -> Result:
    """Write a private file and a private folder and read their modes.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    file, folder = place.scratch / "private", place.scratch / "private-folder"
    write_atomic(file, b"", mode=0o600)
    folder.mkdir(mode=0o700)
    modes = _mode(file), _mode(folder)
    return modes == (0o600, 0o700), f"{modes[0]:04o} and {modes[1]:04o}"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@check("IQ-09", f"a registry of layout {SCHEMA_VERSION}")
def database(place: Place) -> Result:
    """Open the registry.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    with Registry.open(place.trial, place.protocol, Use.SHOW) as registry:
        found = registry.database()
    return found.layout == SCHEMA_VERSION, f"{found.system}, layout {found.layout}"


@check("IQ-10", "no entry of a transaction that was not completed")
def rollback(place: Place) -> Result:
    """Write to the audit trail in a transaction that fails, and look for the entry.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    with Registry.open(place.trial, place.protocol, Use.SHOW) as registry:
        undone = registry.undoes_failed_transaction()
    return undone, "none" if undone else "the entry"


@check("IQ-11", "the secret of this trial; folder of mode 0700, files of mode 0600")
def sealed_folder(place: Place) -> Result:
    """Read the secret and the modes of the sealed folder.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    folder = place.trial.sealed
    tested = Secret.read(folder).is_tested(folder)
    wide = [path.name for path in sorted(folder.iterdir()) if _mode(path) & 0o077]
    wide += [f"the folder ({_mode(folder):04o})"] if _mode(folder) & 0o077 else []
    owned = folder.stat().st_uid == os.getuid()
    if wide or not owned:
        return False, f"accessible to others: {listed(wide)}" if wide else f"owned by user {folder.stat().st_uid}"
    return True, "private, " + ("secret agrees with its check value" if tested else "secret of an earlier version")


@check("IQ-12", "no deviation from the audit trail")
def audit_trail(place: Place) -> Result:
    """Compare the trial with its audit trail, as ``audit verify`` does.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    found = verify_trial(place.trial.root)
    return not found.deviations, listed(
        found.deviations
    ) or f"{found.entries} entries, intact; last {found.last[:12]}"


@check("IQ-13", "a time of this machine that is not before the latest entry")
def clock(place: Place) -> Result:
    """Compare the clock with the latest entry of the audit trail.

    Parameters
    ----------
    place : Place

    Returns
    -------
    Result
    """
    with Registry.open(place.trial, place.protocol, Use.SHOW) as registry:
        latest = max((entry.at for entry in registry.audit_trail()), default="")
    now = utc_now()
    return now >= latest, f"clock {now}, latest entry {latest}"


IQ_TRIAL: tuple[Check[Place], ...] = (
    free_space, atomic_replacement, file_lock, access_rights, database, rollback, sealed_folder, audit_trail, clock,
)  # fmt: skip
