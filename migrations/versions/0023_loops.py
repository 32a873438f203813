"""Adds the column that ties the rows of a for_each to their step."""

from pathlib import Path

from alembic import op

revision = "0023"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, its constraint and its index."""
    changes = Path(__file__).parents[1] / "sql" / "0023_loops.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
