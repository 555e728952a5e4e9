"""A usage record says which operation it bills, so that embeddings and completions can be told apart.

Records of before, without `operation`, go on counting as completions.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the operation, which the recorder takes from the settlement."""
    op.execute("ALTER TABLE usage_record ADD COLUMN operation text CHECK (operation <> '')")
