"""Adds the mark of an effect that must not happen twice."""

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and what the database itself forbids."""
    changes = Path(__file__).parents[1] / "sql" / "0020_effects.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
