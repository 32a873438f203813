"""Separates declarations about arms by tenant."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its policies."""
    changes = Path(__file__).parents[1] / "sql" / "0013_least_privilege.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
