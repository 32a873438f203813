"""Keeps what models answered, so that a task can be replayed without asking again."""

from pathlib import Path

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    changes = Path(__file__).parents[1] / "sql" / "0033_model_answers.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
