"""Adds a function for autoscalers: how many seconds of work a queue has."""

from pathlib import Path

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the function; orchestrator.memory.roles says who may call it."""
    changes = Path(__file__).parents[1] / "sql" / "0032_queued_seconds.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
