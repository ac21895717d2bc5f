"""Layout 4: versions of reads, and which of the reads of a visit counts.

Earlier layouts have one read for each visit. It counts. Its files are in the folder of the visit (version 0).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("reads", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("reads", sa.Column("standing", sa.String(16), nullable=False, server_default="counts"))
    op.execute("UPDATE registry SET version = 4")
