"""Functions that no session can lead to other tables, and evidence that no statement empties.

A session decides in which schemas a name is looked up, and its temporary tables come first. A trigger function that
says `invoice` therefore reads a temporary table of that name. So each function has a search path of its own, without
`public`, and names each table with its schema: a name without one is an error.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

FUNCTIONS = (
    "sums_to_zero(numeric[])",
    "notify_change()",
    "notify_sector_change()",
    "refuse_change()",
    "refuse_wrong_move()",
    "keep_dispute()",
    "service_by_window(text[], timestamptz, timestamptz, integer)",
)
"""They name no table, or each with its schema already."""

INVOICE_KEPT = """
CREATE OR REPLACE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
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
        SELECT COALESCE(sum(l.amount_micros), 0) AS net, COALESCE(sum(l.tax_micros), 0) AS tax INTO lines
            FROM public.invoice_line l WHERE l.tenant_id = NEW.tenant_id AND l.invoice_id = NEW.invoice_id;
        IF lines.net <> NEW.net_micros OR lines.tax <> NEW.tax_micros THEN
            RAISE EXCEPTION 'the lines of invoice % do not add up to it', NEW.number;
        END IF;
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$
"""

LINES_KEPT = """
CREATE OR REPLACE FUNCTION keep_issued_lines() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    line record := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM FROM public.invoice i
        WHERE i.tenant_id = line.tenant_id AND i.invoice_id = line.invoice_id AND i.status = 'draft' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lines of an issued invoice are immutable: it is corrected by a credit note';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.tenant_id, OLD.invoice_id) <> (NEW.tenant_id, NEW.invoice_id) THEN
        RAISE EXCEPTION 'a line stays with its invoice';
    END IF;
    RETURN line;
END $$
"""

WRITTEN_ONCE = ("usage_record", "audit_entry")
"""Evidence that had no trigger yet: only rights kept it as it was written."""

NEVER_EMPTIED = (
    *("usage_record", "usage_adjustment", "audit_entry", "transfer", "invoice", "invoice_line", "invoice_series"),
    *("payment", "dispute", "contract", "price_version", "price_schedule", "pool_cost", "model_routing"),
)
"""TRUNCATE meets no trigger for rows, so these have one for the statement."""


def upgrade() -> None:
    """Give each function its search path, and the tables their triggers."""
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION public.{function} SET search_path = pg_catalog, pg_temp")
    op.execute(INVOICE_KEPT)
    op.execute(LINES_KEPT)
    for table in WRITTEN_ONCE:
        op.execute(
            f"CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON public.{table}"
            " FOR EACH ROW EXECUTE FUNCTION public.refuse_change()"
        )
    for table in NEVER_EMPTIED:
        op.execute(
            f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON public.{table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()"
        )
