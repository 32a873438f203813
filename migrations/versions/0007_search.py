"""Search by trigrams and by meaning, where the server has the extensions."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index of trigrams and a table of vectors; on a server without pg_trgm or pgvector, nothing."""
    search = Path(__file__).parents[1] / "sql" / "0007_search.sql"
    op.get_bind().exec_driver_sql(search.read_text(encoding="utf-8").replace("%", "%%"))
