"""Finds the steps that saved a file, so that a file lives as long as a stored task whose step saved it."""

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    changes = Path(__file__).parents[1] / "sql" / "0028_saved_files.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
