"""Adds fair shares of the worker pools between tenants."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the steps' tenant, its indexes and the function that the claim calls."""
    changes = Path(__file__).parents[1] / "sql" / "0011_fair_shares.sql"
    op.get_bind().exec_driver_sql(changes.read_text(encoding="utf-8").replace("%", "%%"))
