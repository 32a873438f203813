"""Lets first steps begin while a model still writes the plan."""

from pathlib import Path

from alembic import op

revision = "0025"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let steps of round 0 be of no chord, and create the function that begins them."""
    changes = Path(__file__).parents[1] / "sql" / "0025_early_steps.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
