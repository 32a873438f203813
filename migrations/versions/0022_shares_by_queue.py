"""Shares the worker pools by queue, because registered arms have one queue."""

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the function that claims call, and its index."""
    changes = Path(__file__).parents[1] / "sql" / "0022_shares_by_queue.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
