"""Creates the table of submission names, which make a submission repeatable."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    submissions = Path(__file__).parents[1] / "sql" / "0004_submissions.sql"
    op.get_bind().exec_driver_sql(submissions.read_text(encoding="utf-8").replace("%", "%%"))
