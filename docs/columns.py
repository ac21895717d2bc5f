"""Write docs/columns.md: every column of every table, from the definitions that make the tables.

`python docs/columns.py` writes the page; a test compares it with the definitions.
"""

from __future__ import annotations

from pathlib import Path

from mri_pipeline.tables.columns import Column, Table
from mri_pipeline.tables.io import TABLES

PAGE = Path(__file__).with_name("columns.md")

HEAD = """\
# Columns of the tables

<!-- Written by docs/columns.py from mri_pipeline/tables/schema.py, endpoints.py and nv.py. Do not edit. -->

`mri-pipeline tables` and `mri-pipeline bids` write these tables. `data_dictionary.json` holds the same definitions for
a machine to read. The column *empty if* states when a value is missing; *never* marks a required value.
"""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _type(column: Column) -> str:
    unit = {"": "", "mm3": ", mm³"}.get(column.unit, f", {column.unit}")
    values = ": " + ", ".join(f"`{value}`" for value in column.values) if column.values else ""
    return f"{column.type.value}{unit}{values}"


def _section(table: Table) -> str:
    rows = "".join(
        f"| `{column.name}` | {_type(column)} | {_escaped(column.rule)} | {_escaped(column.missing)} |\n"
        for column in table.columns
    )
    head = "| column | type, unit, values | meaning | empty if |\n| --- | --- | --- | --- |\n"
    return f"\n## {table.file}\n\n{_escaped(table.about)}\n\n{head}{rows}"


def page() -> str:
    """The whole page as Markdown."""
    return HEAD + "".join(_section(table) for table in TABLES)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
