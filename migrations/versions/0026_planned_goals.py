"""Stores the goals that models planned, so that later plans find earlier tasks like theirs."""

from pathlib import Path

from alembic import op

revision = "0026"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    changes = Path(__file__).parents[1] / "sql" / "0026_planned_goals.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
