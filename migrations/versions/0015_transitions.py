"""Adds the transitions that nearly every task makes, each as one call."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the functions."""
    changes = Path(__file__).parents[1] / "sql" / "0015_transitions.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
