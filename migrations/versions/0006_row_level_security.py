"""Creates the row-level security policies that show a tenant only its own rows."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the role and the policies."""
    policies = Path(__file__).parents[1] / "sql" / "0006_row_level_security.sql"
    op.get_bind().exec_driver_sql(policies.read_text(encoding="utf-8").replace("%", "%%"))
