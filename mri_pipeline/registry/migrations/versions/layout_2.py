"""Layout 2: the registry of versions 0.1.0 and 0.2.0.

Triggers make the audit trail append-only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None

_SQLITE = """
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN NEW.seq <= (SELECT max(seq) FROM audit)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
"""  # REPLACE deletes rows without the first two
_POSTGRESQL = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$;;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
"""


def upgrade() -> None:
    """Create the tables in an empty database."""
    _create_sites_and_subjects()
    _create_scans_and_reads()
    _create_audit()
    registry = op.create_table("registry", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(registry, [{"version": 2}])


def _create_sites_and_subjects() -> None:
    op.create_table(
        "sites",
        sa.Column("code", sa.String(16), primary_key=True),
        sa.Column("gate", sa.String(16), nullable=False),
        sa.Column("dummy_run_digest", sa.String(64)),
        sa.Column("gate_at", sa.String(32)),
    )
    facts = ("manufacturer", "model", "software")
    op.create_table(
        "scanners",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", sa.String(16), sa.ForeignKey("sites.code"), nullable=False),
        *(sa.Column(name, sa.String(200), nullable=False) for name in facts),
        sa.Column("field_strength_t", sa.Double, nullable=False),
        sa.Column("serial_digest", sa.String(64), nullable=False),
        sa.UniqueConstraint("site", *facts, "field_strength_t", "serial_digest"),
    )
    op.create_table(
        "subjects",
        sa.Column("code", sa.String(16), primary_key=True),
        sa.Column("site", sa.String(16), sa.ForeignKey("sites.code"), nullable=False),
    )


def _create_scans_and_reads() -> None:
    op.create_table(
        "scans",
        sa.Column("subject", sa.String(16), sa.ForeignKey("subjects.code"), primary_key=True),
        sa.Column("visit", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("upload_digest", sa.String(64)),
        sa.Column("scanner", sa.Integer, sa.ForeignKey("scanners.id")),
        sa.Column("profile", sa.JSON, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
    )
    counts = ("accepted", "rejected", "voxels_added", "voxels_erased")
    op.create_table(
        "reads",
        sa.Column("subject", sa.String(16), sa.ForeignKey("subjects.code"), primary_key=True),
        sa.Column("visit", sa.String(32), primary_key=True),
        sa.Column("reader", sa.String(64), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in counts),
        sa.Column("digest", sa.String(64), nullable=False),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("os_user", "reader", "action", "target")),
        sa.Column("details", sa.JSON, nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("previous", "hash")),
    )
    statements = _SQLITE if op.get_context().dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements.split(";;"):
        op.execute(statement)
