"""Adds search by trigrams and vectors if the server has the extensions, and an index of outputs stored as files."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the trigram index and the table of vectors if possible, and the index of stored outputs."""
    for name in ("0007_search.sql", "0007_stowed_outputs.sql"):
        script = Path(__file__).parents[1] / "sql" / name
        op.get_bind().exec_driver_sql(script.read_text(encoding="utf-8").replace("%", "%%"))
