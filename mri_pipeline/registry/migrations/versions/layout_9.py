"""Layout 9: authenticator apps of the people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "second_factors",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("confirmed_at", sa.String(32), nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
    )
    op.execute("UPDATE registry SET version = 9")
