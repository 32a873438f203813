"""Creates the audit log."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, its triggers and its policy."""
    changes = Path(__file__).parents[1] / "sql" / "0012_audit_log.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
