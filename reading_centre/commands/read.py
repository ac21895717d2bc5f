"""``mri-pipeline read``."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from mri_pipeline.core.errors import AnalysisError, UsageError
from reading_centre.command_options import AsJson, TrialFolder, require_writable
from reading_centre.console import ask_password, emit, renew_reports, say, say_stderr


def read(
    trial: TrialFolder,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write a blinded worklist to this folder.", callback=require_writable),
    ] = None,
    take: Annotated[
        Path | None, typer.Option("--import", help="Import decisions and masks from this folder.")
    ] = None,
    reader: Annotated[
        str,
        typer.Option(
            "--reader", help="Code of the reader. With --export: only the visits that await this reader."
        ),
    ] = "",
    lock: Annotated[bool, typer.Option("--lock", help="Sign and lock the reader's reads.")] = False,
    unlock: Annotated[
        str, typer.Option("--unlock", metavar="CODE/VISIT", help="Unlock one read for a correction.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Reason; required with --unlock.")] = "",
    account: Annotated[
        bool, typer.Option("--account", help="Print a new account for trial.toml, of a reader or another person.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="The reader's key file, instead of a password.")
    ] = None,
    one_time: Annotated[
        bool,
        typer.Option(
            "--one-time", help="With --account: the person has to change the password at the first login."
        ),
    ] = False,
    without_app: Annotated[
        bool,
        typer.Option("--without-app", help="With --account: remove the person's authenticator app (lost device)."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export worklists, import the decisions of readers, sign and lock reads, make accounts.

    Give one of --export, --import, --lock, --unlock and --account.
    """
    from reading_centre.use_cases.reading import lock as read_lock
    from reading_centre.use_cases.reading.export_reads import export_reads
    from reading_centre.use_cases.reading.import_reads import import_reads

    options = {"--export": export, "--import": take, "--lock": lock, "--unlock": unlock, "--account": account}
    chosen = [name for name, value in options.items() if value]
    if len(chosen) != 1:
        *most, last = (f"{name} DIR" if name in {"--export", "--import"} else name for name in options)
        raise UsageError(
            f"expected one of {', '.join(most)} and {last}, found {' and '.join(chosen) or 'none'}",
            hint="export a worklist, import it with the readers' decisions, then lock the reads",
        )
    if not reader and export is None:
        raise UsageError(f"expected --reader with {chosen[0]}, found none", hint="for example --reader R1")
    for name, given in {"--one-time": one_time, "--without-app": without_app}.items():
        if given and not account:
            raise UsageError(f"{name}: expected --account, found none", hint="add --account")
    proof = read_lock.Proof(key_file, ask_password)
    if account:
        say(_account(trial, reader, key_file, one_time=one_time, without_app=without_app))
        return
    if export is not None:
        summary = export_reads(trial, export, reader=reader)
    elif take is not None:
        summary = import_reads(trial, take, reader=reader)
    elif lock:
        summary = read_lock.lock_reads(trial, reader=reader, proof=proof)
    else:
        code, _, visit = unlock.partition("/")
        summary = read_lock.unlock_read(
            trial, subject=code, visit=visit, reader=reader, reason=reason, proof=proof
        )
    if export is None:
        renew_reports(trial)
    _report(summary, as_json=as_json)


def _account(trial: Path, person: str, key_file: Path | None, *, one_time: bool, without_app: bool) -> str:
    from reading_centre.use_cases.trial.people import account_line, remove_app

    if not without_app:
        return account_line(trial, person=person, key_file=key_file, password=_ask_new_password, one_time=one_time)
    if one_time or key_file is not None:
        raise UsageError(
            "--without-app: expected no --one-time and no --key-file", hint="remove the app first, then set them"
        )
    remove_app(trial, person=person)
    return f"{person} signs in without a code from now on."


def _report(summary: dict[str, int | str | list[str]], *, as_json: bool) -> None:
    messages = {name: value for name, value in summary.items() if isinstance(value, list)}
    if as_json:
        emit(summary)
    else:
        numbers = [f"{name.replace('_', ' ')}: {summary[name]}" for name in summary if name not in messages]
        say(", ".join(numbers))
        for note in messages.get("notes", []):
            say(f"Note: {note}")
    for message in messages.get("failed", []):
        say_stderr(message)
    if messages.get("failed"):
        raise typer.Exit(AnalysisError.exit_code)


def _ask_new_password(statement: str) -> str:
    password = ask_password(statement)
    if sys.stdin.isatty() and getpass("Again: ") != password:
        raise UsageError("the two passwords differ", hint="try again")
    return password
