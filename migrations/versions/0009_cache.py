"""Adds the result cache's columns to tasks."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and their indexes."""
    changes = Path(__file__).parents[1] / "sql" / "0009_cache.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
