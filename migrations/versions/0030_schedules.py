"""Adds schedules, which submit a contract again and again, their events, and the schedule of a task."""

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, the columns of tasks, and the function that fires a schedule."""
    changes = Path(__file__).parents[1] / "sql" / "0030_schedules.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
