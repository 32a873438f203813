"""Creates the tables of cache errors and of switched-off cache layers."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and their policies."""
    changes = Path(__file__).parents[1] / "sql" / "0010_cache_audits.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
