"""Lets a step be claimed without its task's lock: the start of an attempt is announced later."""

from pathlib import Path

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the steps' column."""
    changes = Path(__file__).parents[1] / "sql" / "0014_claims.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
