"""Layout 6: measures of uploads, and the gates of the scanners.

Earlier layouts have one gate for each site. The known scanners of an accepted site are accepted, with any receive coil:
also those that are known from visits alone, because earlier layouts accepted their visits. They have the digest of the
site's latest dummy run. The person who decides names the scanner (`ScannerGates.decide`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "measures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", sa.String(16), sa.ForeignKey("sites.code"), nullable=False),
        sa.Column("scanner", sa.Integer, sa.ForeignKey("scanners.id")),
        sa.Column("subject", sa.String(16), nullable=False, index=True),
        sa.Column("visit", sa.String(32), nullable=False),
        sa.Column("upload_digest", sa.String(64), nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("values", sa.JSON, nullable=False),
    )
    op.create_table(
        "scanner_gates",
        sa.Column("scanner", sa.Integer, sa.ForeignKey("scanners.id"), primary_key=True),
        sa.Column("coil", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("dummy_run_digest", sa.String(64), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("proposed", sa.String(16), nullable=False),
        sa.Column("proposed_by", sa.String(64), nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
    )
    op.execute(
        "INSERT INTO scanner_gates SELECT scanners.id, '', 'accepted', coalesce(dummy_run_digest, ''), "
        "coalesce(gate_at, ''), 'gate of the site, by an earlier version', '', '', '', '[]' "
        "FROM scanners JOIN sites ON scanners.site = sites.code WHERE sites.gate = 'accepted'"
    )
    op.execute("UPDATE registry SET version = 6")
