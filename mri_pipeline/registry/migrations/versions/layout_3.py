"""Layout 3: whose images a scan has and of when; withdrawn scans and reads are kept; queries and releases.

Scans of earlier layouts have no keys. They are not compared with later ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the columns and tables."""
    for name, kind in (
        ("receipt", sa.String(32)),
        ("shifted_day", sa.Integer()),
        ("before_infusion", sa.String(8)),
    ):
        op.add_column("scans", sa.Column(name, kind))
    op.create_table(
        "images",
        sa.Column("subject", sa.String(16), primary_key=True),
        sa.Column("visit", sa.String(32), primary_key=True),
        sa.Column("contrast", sa.String(32), primary_key=True),
        sa.Column("pixels_key", sa.String(64), nullable=False, index=True),
        sa.ForeignKeyConstraint(["subject", "visit"], ["scans.subject", "scans.visit"]),
    )
    op.create_table(
        "keys",
        sa.Column("subject", sa.String(16), primary_key=True),
        sa.Column("visit", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True, index=True),
        sa.ForeignKeyConstraint(["subject", "visit"], ["scans.subject", "scans.visit"]),
    )
    op.create_table(
        "withdrawn",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subject", sa.String(16), sa.ForeignKey("subjects.code"), nullable=False),
        sa.Column("visit", sa.String(32), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("replaced_by", sa.String(32)),
        sa.Column("scan", sa.JSON, nullable=False),
        sa.Column("reads", sa.JSON, nullable=False),
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", sa.String(16), sa.ForeignKey("sites.code"), nullable=False),
        sa.Column("subject", sa.String(16), nullable=False),
        sa.Column("visit", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(32), nullable=False),
        sa.Column("contrast", sa.String(32), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("measured", sa.Double),
        sa.Column("limit_value", sa.Double),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("to_do", sa.Text, nullable=False),
        sa.Column("entered_at", sa.String(32), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("answered_by", sa.String(64), nullable=False),
        sa.Column("answered_at", sa.String(32), nullable=False),
        sa.Column("close_reason", sa.Text, nullable=False),
        sa.Column("closed_by", sa.String(64), nullable=False),
        sa.Column("closed_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("upload_digest", sa.String(64), nullable=False, index=True),
        sa.Column("site", sa.String(16), sa.ForeignKey("sites.code"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("protocol", sa.Boolean, nullable=False),
        sa.Column("cleared", sa.JSON, nullable=False),
    )
    op.execute("UPDATE registry SET version = 3")
