"""Creation of a trial folder."""

from __future__ import annotations

from pathlib import Path

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text, with_database_url
from mri_pipeline.registry import Registry, require_unused
from mri_pipeline.registry.audit import AuditAction


def require_empty(folder: Path, *, what: str, hint: str) -> None:
    """Refuse a folder with content.

    Parameters
    ----------
    folder : Path
    what : str
        Purpose of the folder, for the message.
    hint : str
        What to do instead.

    Raises
    ------
    UsageError
        If it is a file, or a folder that is not empty.
    """
    if not folder.exists():
        return
    content = len(list(folder.iterdir())) if folder.is_dir() else None
    if content != 0:
        found = "a file" if content is None else f"one with {content} {'entry' if content == 1 else 'entries'}"
        raise UsageError(f"expected a new or empty folder for {what}, found {found}", hint=hint)


def init_trial(folder: Path, protocol: str = "mesems", *, database_url: str = "") -> Trial:
    """Create a trial folder with its protocol, secrets and registry.

    Parameters
    ----------
    folder : Path
        New or empty.
    protocol : str
        Name of the protocol to start from.
    database_url : str
        SQLAlchemy URL of an empty database for the registry; empty for SQLite in the trial folder.

    Returns
    -------
    Trial

    Raises
    ------
    UsageError
        If the folder exists and is not empty, or the database is not empty.
    SettingsError
        If there is no such protocol, or the database cannot be used.
    """
    text = protocol_text(protocol)
    require_empty(folder, what="the trial", hint="choose another folder")
    trial = Trial(folder)
    if database_url:
        require_unused(database_url)
        text = with_database_url(text, database_url)
    settings = parse_protocol(text)
    for path in trial.folders():
        path.mkdir(parents=True, exist_ok=True)
    write_atomic(trial.protocol_file, text)
    with Registry.open(trial, settings, new=True) as registry:  # secrets later: a trial without them counts as new
        registry.audit(AuditAction.TRIAL_LAID_OUT, details={"protocol": protocol})
    Sealed.create(trial)
    return trial
