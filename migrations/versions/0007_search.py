"""Search by trigrams and by meaning, where the server has the extensions; outputs that are kept as files."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index of trigrams and a table of vectors, as far as the server can, and the index of stowed outputs."""
    for name in ("0007_search.sql", "0007_stowed_outputs.sql"):
        script = Path(__file__).parents[1] / "sql" / name
        op.get_bind().exec_driver_sql(script.read_text(encoding="utf-8").replace("%", "%%"))
