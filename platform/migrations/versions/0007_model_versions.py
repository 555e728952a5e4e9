"""A model's life: its versions with their states, and which of them requests go to; the pool's role and its nodes."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE model_version (
    model_id             text NOT NULL CHECK (model_id <> ''),
    version              text NOT NULL CHECK (version <> ''),
    declaration          jsonb NOT NULL,
    declaration_sha256   text NOT NULL CHECK (declaration_sha256 ~ '^[0-9a-f]{64}$'),
    weights_sha256       text NOT NULL CHECK (weights_sha256 ~ '^[0-9a-f]{64}$'),
    licence              text NOT NULL CHECK (licence <> ''),
    state                text NOT NULL
        CHECK (state IN ('proposed', 'downloading', 'testing', 'serving', 'draining', 'retired')),
    licence_accepted_by  text,
    licence_accepted_at  timestamptz,
    progress             text,
    fault                text,
    measurements         jsonb,
    proposed_by          text NOT NULL CHECK (proposed_by <> ''),
    proposed_at          timestamptz NOT NULL,
    changed_at           timestamptz NOT NULL,
    PRIMARY KEY (model_id, version),
    CHECK ((licence_accepted_by IS NULL) = (licence_accepted_at IS NULL)),
    CHECK (state IN ('proposed', 'retired') OR licence_accepted_at IS NOT NULL),
    CHECK (state NOT IN ('serving', 'draining') OR measurements IS NOT NULL)
);
CREATE TABLE model_routing (
    model_id    text NOT NULL CHECK (model_id <> ''),
    number      integer NOT NULL CHECK (number > 0),
    shares      jsonb NOT NULL CHECK (jsonb_typeof(shares) = 'object'),
    created_by  text NOT NULL CHECK (created_by <> ''),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (model_id, number)
);
CREATE TABLE pool_node (
    node_id                    text PRIMARY KEY CHECK (node_id <> ''),
    cpus                       integer NOT NULL CHECK (cpus >= 0),
    cpus_free                  integer NOT NULL CHECK (cpus_free BETWEEN 0 AND cpus),
    accelerator                text,
    accelerators               integer NOT NULL CHECK (accelerators >= 0),
    accelerators_free_percent  integer NOT NULL CHECK (accelerators_free_percent BETWEEN 0 AND accelerators * 100),
    memory_bytes               bigint NOT NULL CHECK (memory_bytes >= 0),
    seen_at                    timestamptz NOT NULL
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON model_routing FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""

MOVES_FUNCTION = """
CREATE FUNCTION refuse_wrong_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state || ' ' || NEW.state) NOT IN (
        'proposed downloading', 'proposed retired',
        'downloading testing', 'downloading proposed', 'downloading retired',
        'testing serving', 'testing proposed', 'testing retired',
        'serving draining', 'draining serving', 'draining retired', 'retired downloading'
    ) THEN
        RAISE EXCEPTION 'a model version does not go from % to %', OLD.state, NEW.state USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$
"""

TRIGGERS = """
CREATE TRIGGER moves BEFORE UPDATE OF state ON model_version FOR EACH ROW EXECUTE FUNCTION refuse_wrong_move();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OF state ON model_version
    FOR EACH STATEMENT EXECUTE FUNCTION notify_sector_change();
CREATE TRIGGER changed AFTER INSERT ON model_routing FOR EACH STATEMENT EXECUTE FUNCTION notify_sector_change();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO finpool_pool;
GRANT SELECT ON alembic_version TO finpool_pool;
GRANT SELECT ON pool_node TO finpool_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON pool_node TO finpool_pool;
GRANT SELECT ON model_version, model_routing TO finpool_inference, finpool_regulator;
GRANT SELECT, INSERT ON model_version, model_routing TO finpool_operator, finpool_pool;
GRANT UPDATE (state, licence_accepted_by, licence_accepted_at, fault, changed_at) ON model_version TO finpool_operator;
GRANT UPDATE (state, progress, fault, measurements, changed_at) ON model_version TO finpool_pool;
GRANT INSERT ON audit_outbox TO finpool_pool;
CREATE POLICY pool ON audit_outbox FOR INSERT TO finpool_pool WITH CHECK (tenant_id IS NULL);
"""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create the tables. Versions are immutable but for where they are in their life, and that goes its ways only."""
    run(TABLES)
    op.execute(MOVES_FUNCTION)
    run(TRIGGERS)
    run(GRANTS)
