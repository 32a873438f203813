"""Keeps with a task the span of its caller, and of the task that it repeats."""

from pathlib import Path

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    changes = Path(__file__).parents[1] / "sql" / "0031_trace_context.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
