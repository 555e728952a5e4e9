"""The filters of a bank's audit trail find their entries by indexes: one read the bank's whole log before.

The columns repeat parts of the entry, and the database derives them from it, so they cannot differ. Indexes on the
entry's JSON itself would not do: under row-level security a bank's query uses only those with comparisons that Postgres
knows to leak nothing. The table is written anew once, which takes some minutes for ten million entries.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

COLUMNS = """
ALTER TABLE audit_entry
    ADD COLUMN kind text GENERATED ALWAYS AS (entry::jsonb ->> 'kind') STORED,
    ADD COLUMN occurred_at text COLLATE "C" GENERATED ALWAYS AS (entry::jsonb ->> 'occurred_at') STORED,
    ADD COLUMN actor_id text
        GENERATED ALWAYS AS (entry::jsonb #>> '{body,actor,credential_id}') STORED,
    ADD COLUMN project_id text
        GENERATED ALWAYS AS (COALESCE(
            entry::jsonb #>> '{body,project_id}',
            CASE WHEN entry::jsonb #>> '{body,scope}' = 'project' THEN entry::jsonb #>> '{body,scope_id}' END
        )) STORED
"""
INDEXES = (
    "CREATE INDEX audit_entry_by_kind ON audit_entry (tenant_id, kind, seq)",
    "CREATE INDEX audit_entry_by_time ON audit_entry (tenant_id, occurred_at)",
    "CREATE INDEX audit_entry_by_actor ON audit_entry (tenant_id, actor_id, seq) WHERE actor_id IS NOT NULL",
    "CREATE INDEX audit_entry_by_project ON audit_entry (tenant_id, project_id, seq)",
)


def upgrade() -> None:
    """Add the columns and their indexes."""
    for statement in (COLUMNS, *INDEXES):
        op.execute(statement)
