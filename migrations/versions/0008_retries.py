"""Adds retries: tasks that repeat an ended one, and steps that reuse its results."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, their indexes and their constraints."""
    retries = Path(__file__).parents[1] / "sql" / "0008_retries.sql"
    op.get_bind().exec_driver_sql(retries.read_text(encoding="utf-8").replace("%", "%%"))
