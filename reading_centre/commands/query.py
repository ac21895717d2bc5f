"""``mri-pipeline query``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from reading_centre.command_options import AsJson, TrialFolder
from reading_centre.console import STDOUT, emit, say

if TYPE_CHECKING:  # the registry is not needed for --help
    from mri_pipeline.registry import Query

app = typer.Typer(
    help="Queries to the sites: list, show, answer, close. Answers and reasons must not contain patient data.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the query.")]
By = Annotated[str, typer.Option("--by", help="Person who acts, such as 'S01 radiographer'; no patient data.")]


class Shown(StrEnum):
    """State of the queries to list."""

    OPEN = "open"
    ANSWERED = "answered"
    CLOSED = "closed"
    ALL = "all"


@app.command("list", short_help="List queries.")
def list_(
    trial: TrialFolder,
    state: Annotated[Shown, typer.Option("--state", help="Only queries in this state.")] = Shown.OPEN,
    site: Annotated[str, typer.Option("--site", help="Only queries of this site.")] = "",
    as_json: AsJson = False,
) -> None:
    """List queries with site, subject, visit, reason and limit."""
    from reading_centre.use_cases.office.query import list_queries, query_record

    found = list_queries(trial, state=state.value, site=site)
    if as_json:
        emit([query_record(query) for query in found])
        return
    table = Table("number", "state", "site", "subject", "visit", "reason", title="Queries", title_justify="left")
    for query in found:
        table.add_row(
            str(query.number), query.state.value, query.site, query.subject, query.visit, query.question.message
        )
    STDOUT.print(table)


@app.command("show", short_help="Show one query.")
def show(trial: TrialFolder, number: Number, as_json: AsJson = False) -> None:
    """Show one query with value, limit, what to do, answer and dates."""
    from reading_centre.use_cases.office.query import show_query

    _print(show_query(trial, number), as_json=as_json)


@app.command("answer", short_help="Enter the answer of a site.")
def answer(
    trial: TrialFolder,
    number: Number,
    text: Annotated[str, typer.Option("--text", help="The answer, without patient data.")],
    by: By,
    as_json: AsJson = False,
) -> None:
    """Enter the answer of a site. A later answer replaces it; the audit trail has all of them."""
    from reading_centre.use_cases.office.query import answer_query

    _print(answer_query(trial, number, text=text, by=by), as_json=as_json)


@app.command("close", short_help="Close a query.")
def close(
    trial: TrialFolder,
    number: Number,
    reason: Annotated[str, typer.Option("--reason", help="Reason for closing, without patient data.")],
    by: By,
    as_json: AsJson = False,
) -> None:
    """Close a query, answered or not."""
    from reading_centre.use_cases.office.query import close_query

    _print(close_query(trial, number, reason=reason, by=by), as_json=as_json)


def _print(query: Query, *, as_json: bool) -> None:
    from reading_centre.use_cases.office.query import query_record

    record = query_record(query)
    if as_json:
        emit(record)
        return
    for name, value in record.items():
        if value not in (None, ""):
            say(f"{name.replace('_', ' ')}: {value}")
