"""Creates the tables of full-text search."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    documents = Path(__file__).parents[1] / "sql" / "0002_documents.sql"
    op.get_bind().exec_driver_sql(documents.read_text(encoding="utf-8").replace("%", "%%"))
