"""nv with trial numbers and dates, as nv.csv, nv.xpt and define.xml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.tables.define import NV_LABEL, define_xml
from mri_pipeline.tables.schedule import Schedule
from mri_pipeline.tables.sdtm import SCAN_MISSING, VARIABLES
from mri_pipeline.tables.xpt import write_xpt

XPT_FILE, DEFINE_FILE = "nv.xpt", "define.xml"


def released_nv(
    rows: Sequence[Mapping[str, str]], key: Mapping[str, tuple[str, str]], *, usubjid: str, schedule: Schedule
) -> list[dict[str, str]]:
    """The rows of nv.csv with USUBJID, NVDTC and NVDY.

    Parameters
    ----------
    rows : sequence of mapping of str to str
        Of the blinded nv.csv.
    key : mapping of code to (site, trial number)
    usubjid : str
        Pattern (`mri_pipeline.core.protocol.Protocol.usubjid`).
    schedule : Schedule
        A visit without a scan has no date.

    Returns
    -------
    list of dict of str to str

    Raises
    ------
    UsageError
        If two subjects have the same USUBJID.
    """
    names = {}
    for code, study in {row["USUBJID"]: row["STUDYID"] for row in rows}.items():
        site, number = key[code]
        names[code] = usubjid.format(study=study, site=site, subject=number)
    if any(count > 1 for count in Counter(names.values()).values()):
        raise UsageError(
            "expected a different USUBJID of each subject, found the same of two",
            hint="add {site} to usubjid in trial.toml",
        )
    released = []
    for row in rows:
        date, day = ("", "")
        if row["NVREASND"] != SCAN_MISSING:
            date, day = schedule.cells(*key[row["USUBJID"]], row["VISIT"])
        released.append({**row, "USUBJID": names[row["USUBJID"]], "NVDTC": date, "NVDY": day})
    return released


def write_submission(
    out: Path, rows: Sequence[Mapping[str, str]], *, study: str, created: str, dates: str
) -> list[Path]:
    """Write nv.xpt and define.xml, which only their owner can read.

    Parameters
    ----------
    out : Path
        Existing folder.
    rows : sequence of mapping of str to str
        Of `released_nv`.
    study, created, dates : str
        As in `mri_pipeline.tables.define.define_xml`.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        As `mri_pipeline.tables.xpt.write_xpt`.
    """
    define = define_xml(rows, study=study, created=created, file=XPT_FILE, dates=dates)
    return [
        write_xpt(out / XPT_FILE, "NV", NV_LABEL, VARIABLES, rows),
        write_atomic(out / DEFINE_FILE, define, mode=0o600),
    ]
