"""Creates the table of webhook deliveries."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    webhooks = Path(__file__).parents[1] / "sql" / "0005_webhooks.sql"
    op.get_bind().exec_driver_sql(webhooks.read_text(encoding="utf-8").replace("%", "%%"))
