"""Layout 8: the dummy run that waits for a decision beside an accepted one, and scanners without a serial number.

A scanner of an earlier layout counts as not identified until an upload shows that its headers state a serial number or
a station name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "scanner_gates", sa.Column("waiting_digest", sa.String(64), nullable=False, server_default=sa.text("''"))
    )
    op.add_column(
        "scanner_gates", sa.Column("proposed_reason", sa.Text, nullable=False, server_default=sa.text("''"))
    )
    op.add_column("scanners", sa.Column("identified", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE registry SET version = 8")
