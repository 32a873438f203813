"""Lets the API make and end API keys by functions, and tenants read their own audit entries."""

from pathlib import Path

from alembic import op

revision = "0029"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the functions and the index, and grant the tenants' role what it may read."""
    changes = Path(__file__).parents[1] / "sql" / "0029_keys_and_audit_over_http.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
