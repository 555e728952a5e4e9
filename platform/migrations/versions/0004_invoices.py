"""Invoices and credit notes with their lines, payments, disputes: immutable once they are issued."""

from alembic import op

revision = "0004"
down_revision = "0003"

SECTOR_ROLES = {
    "invoice": "finpool_operator",
    "invoice_line": "finpool_operator",
    "payment": "finpool_operator",
    "dispute": "finpool_operator",
}
"""Who may opt into reading each table across tenants; a tenant's own role never can."""

TABLES = """
CREATE TABLE invoice_series (
    series       text PRIMARY KEY CHECK (series <> ''),
    last_number  bigint NOT NULL CHECK (last_number > 0)
);
CREATE TABLE invoice (
    tenant_id         text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    invoice_id        text NOT NULL CHECK (invoice_id <> ''),
    kind              text NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
    status            text NOT NULL CHECK (status IN ('draft', 'issued', 'paid')),
    number            text UNIQUE,
    refers_to         text,
    reference         text,
    reason            text,
    prepaid           boolean NOT NULL,
    currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    seller_name       text NOT NULL,
    buyer_name        text NOT NULL,
    tax_label         text NOT NULL,
    period_start      timestamptz NOT NULL,
    period_end        timestamptz NOT NULL,
    previous_end      timestamptz CHECK (previous_end <= period_start),
    previous_cut_seq  bigint,
    cut_seq           bigint,
    net_micros        bigint NOT NULL,
    tax_micros        bigint NOT NULL,
    total_micros      bigint NOT NULL,
    created_by        text NOT NULL,
    created_at        timestamptz NOT NULL,
    issued_at         timestamptz,
    paid_at           timestamptz,
    PRIMARY KEY (tenant_id, invoice_id),
    FOREIGN KEY (tenant_id, refers_to) REFERENCES invoice,
    CHECK (period_start < period_end),
    CHECK (total_micros = net_micros + tax_micros),
    CHECK ((status = 'draft') = (number IS NULL)),
    CHECK ((status = 'draft') = (issued_at IS NULL)),
    CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
    CHECK ((kind = 'invoice') = (cut_seq IS NOT NULL)),
    CHECK ((kind = 'invoice') = (previous_cut_seq IS NOT NULL)),
    CHECK (previous_cut_seq <= cut_seq),
    CHECK ((kind = 'credit_note') = (refers_to IS NOT NULL)),
    CHECK ((kind = 'credit_note') = (reference IS NOT NULL AND reason IS NOT NULL))
);
CREATE UNIQUE INDEX invoice_one_draft ON invoice (tenant_id) WHERE kind = 'invoice' AND status = 'draft';
CREATE UNIQUE INDEX invoice_by_period ON invoice (tenant_id, period_end) WHERE kind = 'invoice';
CREATE UNIQUE INDEX invoice_by_reference ON invoice (tenant_id, refers_to, reference) WHERE kind = 'credit_note';
CREATE TABLE invoice_line (
    tenant_id         text NOT NULL CHECK (tenant_id <> ''),
    invoice_id        text NOT NULL,
    line_no           integer NOT NULL CHECK (line_no > 0),
    kind              text NOT NULL CHECK (kind IN ('usage', 'commitment', 'membership', 'lease_charge', 'credit')),
    correction        boolean NOT NULL,
    charge_start      timestamptz NOT NULL,
    charge_end        timestamptz NOT NULL,
    project_id        text,
    model_id          text,
    price_version     text,
    tier              text,
    token_kind        text CHECK (token_kind IN ('input', 'cached_input', 'output')),
    quantity_tokens   bigint,
    unit_picos        numeric(38, 0) CHECK (unit_picos >= 0),
    reference         text,
    refers_to_line    integer,
    amount_picos      numeric(38, 0) NOT NULL,
    amount_micros     bigint NOT NULL,
    tax_basis_points  integer NOT NULL CHECK (tax_basis_points BETWEEN 0 AND 10000),
    tax_micros        bigint NOT NULL,
    PRIMARY KEY (tenant_id, invoice_id, line_no),
    FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoice,
    CHECK (charge_start < charge_end),
    CHECK ((token_kind IS NULL) = (quantity_tokens IS NULL)),
    CHECK ((token_kind IS NULL) = (unit_picos IS NULL)),
    CHECK (token_kind IS NULL OR amount_picos = quantity_tokens * unit_picos)
);
CREATE TABLE payment (
    tenant_id      text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    payment_id     text NOT NULL CHECK (payment_id <> ''),
    invoice_id     text,
    reference      text NOT NULL CHECK (reference <> ''),
    amount_micros  bigint NOT NULL CHECK (amount_micros > 0),
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, payment_id),
    FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoice
);
CREATE UNIQUE INDEX payment_of_invoice ON payment (tenant_id, invoice_id, reference) WHERE invoice_id IS NOT NULL;
CREATE UNIQUE INDEX payment_in_advance ON payment (tenant_id, reference) WHERE invoice_id IS NULL;
CREATE TABLE dispute (
    tenant_id       text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    dispute_id      text NOT NULL CHECK (dispute_id <> ''),
    invoice_id      text,
    line_no         integer,
    request_id      text,
    reason          text NOT NULL CHECK (reason <> ''),
    status          text NOT NULL CHECK (status IN ('open', 'rejected', 'accepted')),
    opened_by       text NOT NULL,
    opened_at       timestamptz NOT NULL,
    answer          text CHECK (answer <> ''),
    answered_by     text,
    answered_at     timestamptz,
    credit_note_id  text,
    adjustment_id   text,
    PRIMARY KEY (tenant_id, dispute_id),
    FOREIGN KEY (tenant_id, invoice_id, line_no) REFERENCES invoice_line,
    FOREIGN KEY (tenant_id, request_id) REFERENCES usage_record,
    FOREIGN KEY (tenant_id, credit_note_id) REFERENCES invoice,
    FOREIGN KEY (tenant_id, adjustment_id) REFERENCES usage_adjustment,
    CHECK ((invoice_id IS NULL) <> (request_id IS NULL)),
    CHECK ((invoice_id IS NULL) = (line_no IS NULL)),
    CHECK ((status = 'open') = (answered_at IS NULL)),
    CHECK ((status = 'open') = (answer IS NULL)),
    CHECK ((status = 'open') = (answered_by IS NULL)),
    CHECK ((status = 'accepted') = (num_nonnulls(credit_note_id, adjustment_id) = 1))
);
CREATE UNIQUE INDEX dispute_open_line ON dispute (tenant_id, invoice_id, line_no) WHERE status = 'open';
CREATE UNIQUE INDEX dispute_open_request ON dispute (tenant_id, request_id) WHERE status = 'open';
"""

INVOICE_KEPT = """
CREATE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'draft' THEN
            RAISE EXCEPTION 'an invoice begins as a draft';
        END IF;
    ELSIF OLD.status <> 'draft' THEN
        IF TG_OP = 'DELETE' OR OLD.status <> 'issued' OR NEW.status <> 'paid'
                OR to_jsonb(NEW) - 'status' - 'paid_at' <> to_jsonb(OLD) - 'status' - 'paid_at' THEN
            RAISE EXCEPTION 'invoice % is issued: it is corrected by a credit note', OLD.number;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND NEW.status <> 'draft' THEN
        SELECT COALESCE(sum(amount_micros), 0) AS net, COALESCE(sum(tax_micros), 0) AS tax INTO lines
            FROM invoice_line WHERE tenant_id = NEW.tenant_id AND invoice_id = NEW.invoice_id;
        IF lines.net <> NEW.net_micros OR lines.tax <> NEW.tax_micros THEN
            RAISE EXCEPTION 'the lines of invoice % do not add up to it', NEW.number;
        END IF;
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$
"""

LINES_KEPT = """
CREATE FUNCTION keep_issued_lines() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line record := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM FROM invoice
        WHERE tenant_id = line.tenant_id AND invoice_id = line.invoice_id AND status = 'draft' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lines of an issued invoice are immutable: it is corrected by a credit note';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.tenant_id, OLD.invoice_id) <> (NEW.tenant_id, NEW.invoice_id) THEN
        RAISE EXCEPTION 'a line stays with its invoice';
    END IF;
    RETURN line;
END $$
"""

DISPUTE_KEPT = """
CREATE FUNCTION keep_dispute() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status <> 'open' OR NEW.status = 'open'
            OR (NEW.tenant_id, NEW.dispute_id, NEW.reason, NEW.opened_by, NEW.opened_at)
                <> (OLD.tenant_id, OLD.dispute_id, OLD.reason, OLD.opened_by, OLD.opened_at)
            OR (NEW.invoice_id, NEW.line_no, NEW.request_id)
                IS DISTINCT FROM (OLD.invoice_id, OLD.line_no, OLD.request_id) THEN
        RAISE EXCEPTION 'a dispute is on record: it is answered once, and never changed';
    END IF;
    RETURN NEW;
END $$
"""

TRIGGERS = """
CREATE TRIGGER immutable BEFORE INSERT OR UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION keep_issued_invoice();
CREATE TRIGGER immutable BEFORE INSERT OR UPDATE OR DELETE ON invoice_line
    FOR EACH ROW EXECUTE FUNCTION keep_issued_lines();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payment FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON dispute FOR EACH ROW EXECUTE FUNCTION keep_dispute();
"""

WHAT_A_TENANT_MAY = """
CREATE POLICY issued_only ON invoice AS RESTRICTIVE FOR SELECT TO finpool_tenant USING (status <> 'draft');
CREATE POLICY issued_only ON invoice_line AS RESTRICTIVE FOR SELECT TO finpool_tenant USING (EXISTS (
    SELECT FROM invoice
    WHERE invoice.tenant_id = invoice_line.tenant_id AND invoice.invoice_id = invoice_line.invoice_id
        AND invoice.status <> 'draft'));
CREATE POLICY opened_by_tenant ON dispute AS RESTRICTIVE FOR INSERT TO finpool_tenant WITH CHECK (status = 'open');
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON invoice_series TO finpool_operator;
GRANT SELECT, INSERT, UPDATE ON invoice TO finpool_operator;
GRANT SELECT, INSERT, DELETE ON invoice_line TO finpool_operator;
GRANT SELECT, INSERT ON payment TO finpool_operator;
GRANT SELECT ON dispute TO finpool_operator;
GRANT UPDATE (status, answer, answered_by, answered_at, credit_note_id, adjustment_id) ON dispute TO finpool_operator;

GRANT SELECT ON invoice, invoice_line, payment, dispute TO finpool_tenant;
GRANT INSERT ON dispute TO finpool_tenant;
"""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create the tables, what keeps them as they were issued, and their walls."""
    run(TABLES)
    for function in (INVOICE_KEPT, LINES_KEPT, DISPUTE_KEPT):
        op.execute(function)
    run(TRIGGERS)
    for table, roles in SECTOR_ROLES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        own = "tenant_id = NULLIF(current_setting('finpool.tenant_id', true), '')"
        op.execute(f"CREATE POLICY own_tenant ON {table} USING ({own}) WITH CHECK ({own})")
        sector = "current_setting('finpool.scope', true) = 'sector'"
        op.execute(f"CREATE POLICY sector ON {table} TO {roles} USING ({sector}) WITH CHECK ({sector})")
    run(WHAT_A_TENANT_MAY)
    run(GRANTS)
