"""Adds approvals, steps that wait for them, and the transitions that leave such tasks alone."""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the changes."""
    for name in ("0019_approvals.sql", "0019_transitions.sql"):
        changes = Path(__file__).parents[1] / "sql" / name
        op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
