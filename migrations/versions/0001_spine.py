"""Creates the core tables and the chord engine's four tables."""

from pathlib import Path

from alembic import op

from orchestrator.chord import chord

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the chord engine's tables from its own schema, then ours."""
    connection = op.get_bind()
    connection.exec_driver_sql(chord.schema_sql().replace("%", "%%"))
    spine = Path(__file__).parents[1] / "sql" / "0001_spine.sql"
    connection.exec_driver_sql(spine.read_text(encoding="utf-8").replace("%", "%%"))
