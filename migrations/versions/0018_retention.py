"""Indexes what the deletion of a task looks up in other tables."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    changes = Path(__file__).parents[1] / "sql" / "0018_retention.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
