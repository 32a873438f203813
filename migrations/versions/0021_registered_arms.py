"""Stores the arms that are registered at run time, and their outages."""

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    changes = Path(__file__).parents[1] / "sql" / "0021_registered_arms.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
