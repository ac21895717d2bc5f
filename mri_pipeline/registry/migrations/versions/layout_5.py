"""Layout 5: sessions of the web application, its login attempts, and the reading in the browser."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("seen_at", sa.String(32), nullable=False),
        sa.Column("reauthenticated_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("account", sa.String(64), nullable=False, index=True),
        sa.Column("address", sa.String(64), nullable=False, index=True),
        sa.Column("succeeded", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "assignments",
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("reader", sa.String(64), nullable=False, index=True),
        sa.Column("subject", sa.String(16), sa.ForeignKey("subjects.code"), nullable=False),
        sa.Column("visit", sa.String(32), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("canvas", sa.JSON, nullable=False),
        sa.Column("lease_holder", sa.String(64), nullable=False),
        sa.Column("lease_at", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("signature", sa.JSON, nullable=False),
        sa.UniqueConstraint("reader", "subject", "visit", "purpose", "round"),
    )
    op.create_table(
        "edits",
        sa.Column("assignment", sa.String(32), sa.ForeignKey("assignments.code"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
    )
    op.execute("UPDATE registry SET version = 5")
