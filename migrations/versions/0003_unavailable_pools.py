"""Adds the reason why a live worker takes no work."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. One statement, so it has no file in sql/."""
    op.get_bind().exec_driver_sql("ALTER TABLE pools ADD COLUMN unavailable text")
