"""The comparisons of documents, payments and single records with the ledger, as SQL.

Documents are in micros, the ledger is in picos; a micro is a million picos.
"""

from finpool.billing.reconciliation.queries import Comparison
from finpool.billing.reconciliation.schemas import Stage

# The transfer of a batch names the spool and its record numbers, including records of other tenants.
_BATCHES = """
    WITH begun AS (
        SELECT tenant_id, max(occurred_at) FILTER (WHERE kind = 'opening') AS moment
        FROM transfer WHERE $of_tenant GROUP BY 1
    ), booked AS (
        SELECT tenant_id, split_part(reference, '/', 1) AS spool_id, reference,
            substring(reference FROM '/([0-9]+)-')::bigint AS first,
            -sum(amount_picos) FILTER (WHERE account = 'revenue') AS amount
        FROM posting WHERE $of_tenant AND kind = 'usage' AND reference ~ '^[^/]+/[0-9]+-[0-9]+' GROUP BY 1, 2, 3
    ), recorded AS (
        SELECT u.tenant_id, l.spool_id, u.spool_seq, u.cost_picos
        FROM usage_record u JOIN lease l ON l.tenant_id = u.tenant_id AND l.lease_id = u.lease_ids[1]
            JOIN begun ON begun.tenant_id = u.tenant_id
        WHERE u.cost_picos <> 0 AND (begun.moment IS NULL OR u.recorded_at > begun.moment)
    ), ordered AS (
        SELECT tenant_id, spool_id, cost_picos, max(first) OVER (
            PARTITION BY tenant_id, spool_id ORDER BY seq, first NULLS LAST ROWS UNBOUNDED PRECEDING) AS first
        FROM (
            SELECT tenant_id, spool_id, first AS seq, first, 0 AS cost_picos FROM booked
            UNION ALL SELECT tenant_id, spool_id, spool_seq, NULL, cost_picos FROM recorded
        ) AS both_kinds
    ), summed AS (SELECT tenant_id, spool_id, first, sum(cost_picos) AS amount FROM ordered GROUP BY 1, 2, 3)
    SELECT tenant_id, 'records and transfer of ' || COALESCE(reference, spool_id || ' before the first') AS subject,
        summed.amount::text AS left_value, COALESCE(booked.amount, 0)::text AS right_value
    FROM summed LEFT JOIN booked USING (tenant_id, spool_id, first)
    WHERE summed.amount <> COALESCE(booked.amount, 0)
"""

_ADJUSTMENTS = """
    WITH booked AS (
        SELECT tenant_id, reference, -sum(amount_picos) AS amount FROM posting
        WHERE $of_tenant AND kind = 'adjustment' AND account = 'revenue' GROUP BY 1, 2
    ), written AS (
        SELECT tenant_id, adjustment_id AS reference, cost_picos FROM usage_adjustment
        WHERE $of_tenant AND kind <> 'lease_charge'
    )
    SELECT tenant_id, 'adjustment ' || reference AS subject, COALESCE(cost_picos, 0)::text AS left_value,
        COALESCE(amount, 0)::text AS right_value
    FROM written FULL JOIN booked USING (tenant_id, reference) WHERE COALESCE(cost_picos, 0) <> COALESCE(amount, 0)
"""

_CHAIN = """
    SELECT tenant_id, number || ': begins where the one before ended' AS subject,
        COALESCE(ended::text, 'none') || ' ' || COALESCE(cut, 0) AS left_value,
        COALESCE(previous_end::text, 'none') || ' ' || previous_cut_seq AS right_value
    FROM (
        SELECT tenant_id, number, previous_end, previous_cut_seq,
            lag(period_end) OVER followed AS ended, lag(cut_seq) OVER followed AS cut
        FROM ($issued) AS issued WHERE kind = 'invoice'
        WINDOW followed AS (PARTITION BY tenant_id ORDER BY period_end)
    ) AS chained
    WHERE previous_end IS DISTINCT FROM ended OR previous_cut_seq IS DISTINCT FROM COALESCE(cut, 0)
"""

_NOT_INVOICED = """
    WITH last AS (
        SELECT DISTINCT ON (tenant_id) tenant_id, period_end, cut_seq FROM ($issued) AS issued
        WHERE kind = 'invoice' ORDER BY tenant_id, period_end DESC
    ), recorded AS (
        SELECT tenant_id, $counted AS counted, usage_seq, cost_picos FROM usage_record WHERE $of_tenant
        UNION ALL SELECT tenant_id, recorded_at, usage_seq, cost_picos FROM usage_adjustment WHERE $of_tenant
    ), waiting AS (
        SELECT r.tenant_id, sum(cost_picos) AS amount FROM recorded r LEFT JOIN last ON last.tenant_id = r.tenant_id
        WHERE last.tenant_id IS NULL OR counted >= period_end OR usage_seq > cut_seq GROUP BY 1
    ), unbilled AS (
        SELECT tenant_id, sum(amount_picos) AS balance FROM posting WHERE $of_tenant AND account = 'unbilled'
        GROUP BY 1
    )
    SELECT tenant_id, 'usage that is in no invoice yet' AS subject, COALESCE(amount, 0)::text AS left_value,
        COALESCE(balance, 0)::text AS right_value
    FROM waiting FULL JOIN unbilled USING (tenant_id) WHERE COALESCE(amount, 0) <> COALESCE(balance, 0)
"""

_DOCUMENTS = """
    SELECT i.tenant_id, i.number || ': ' || book AS subject, wanted::text AS left_value, found::text AS right_value
    FROM ($issued) AS i,
        LATERAL (SELECT COALESCE(sum(amount_picos) FILTER (WHERE l.kind NOT IN ('commitment', 'membership')), 0) AS used
            FROM invoice_line l WHERE l.tenant_id = i.tenant_id AND l.invoice_id = i.invoice_id) AS lines,
        LATERAL (VALUES ('receivable', i.total_micros::numeric * 1000000), ('tax', -i.tax_micros::numeric * 1000000),
            ('unbilled', CASE i.kind WHEN 'invoice' THEN -used ELSE 0 END)) AS expected (book, wanted),
        LATERAL (SELECT COALESCE(sum(amount_picos), 0) AS found FROM posting p WHERE p.tenant_id = i.tenant_id
            AND p.kind = i.kind AND p.reference = i.number AND p.account = book) AS posted
    WHERE wanted <> found
"""

_BOOKED = """
    SELECT tenant_id, kind || ' ' || reference AS subject, 'no such document' AS left_value,
        count(*) || ' transfers' AS right_value
    FROM transfer t WHERE $of_tenant AND kind IN ('invoice', 'credit_note')
        AND NOT EXISTS (SELECT FROM ($issued) AS i WHERE i.tenant_id = t.tenant_id AND i.number = t.reference
            AND i.kind = t.kind)
    GROUP BY tenant_id, kind, reference
"""

_PAYMENTS = """
    WITH paid AS (
        SELECT tenant_id, payment_id, amount_micros::numeric * 1000000 AS amount FROM payment WHERE $of_tenant
    ),
    cash AS (
        SELECT tenant_id, reference AS payment_id, sum(amount_picos) AS amount FROM posting
        WHERE $of_tenant AND account = 'cash' GROUP BY 1, 2
    )
    SELECT tenant_id, 'payment ' || payment_id AS subject, COALESCE(paid.amount, 0)::text AS left_value,
        COALESCE(cash.amount, 0)::text AS right_value
    FROM paid FULL JOIN cash USING (tenant_id, payment_id) WHERE COALESCE(paid.amount, 0) <> COALESCE(cash.amount, 0)
"""

_OPEN = """
    SELECT tenant_id, number || ': open amount in micros' AS subject,
        CASE status WHEN 'paid' THEN '0 or less' ELSE 'more than 0' END AS left_value, open::text AS right_value
    FROM (
        SELECT i.tenant_id, i.number, i.status, i.total_micros
            + (SELECT COALESCE(sum(n.total_micros), 0) FROM ($issued) AS n
                WHERE n.tenant_id = i.tenant_id AND n.refers_to = i.invoice_id)
            - (SELECT COALESCE(sum(p.amount_micros), 0) FROM payment p
                WHERE p.tenant_id = i.tenant_id AND p.invoice_id = i.invoice_id) AS open
        FROM ($issued) AS i WHERE kind = 'invoice' AND NOT prepaid
    ) AS issued WHERE (status = 'paid') <> (open <= 0)
"""

_RECEIVABLE = """
    WITH owed AS (
        SELECT tenant_id, sum(total_micros)::numeric * 1000000 AS amount FROM ($issued) AS i WHERE NOT prepaid
        GROUP BY 1
    ), paid AS (
        SELECT tenant_id, sum(amount_micros)::numeric * 1000000 AS amount FROM payment
        WHERE $of_tenant AND invoice_id IS NOT NULL GROUP BY 1
    ), receivable AS (
        SELECT tenant_id, sum(amount_picos) AS balance FROM posting WHERE $of_tenant AND account = 'receivable'
        GROUP BY 1
    )
    SELECT tenant_id, 'receivable' AS subject, wanted::text AS left_value, found::text AS right_value
    FROM (
        SELECT tenant_id, COALESCE(owed.amount, 0) - COALESCE(paid.amount, 0) AS wanted,
            COALESCE(receivable.balance, 0) AS found
        FROM owed FULL JOIN paid USING (tenant_id) FULL JOIN receivable USING (tenant_id)
    ) AS compared WHERE wanted <> found
"""

_PREPAID = """
    SELECT tenant_id, 'prepaid' AS subject, wanted::text AS left_value, found::text AS right_value
    FROM (
        SELECT a.tenant_id,
            (SELECT COALESCE(sum(total_micros), 0)::numeric * 1000000 FROM ($issued) AS i
                WHERE i.tenant_id = a.tenant_id AND prepaid)
            - (SELECT COALESCE(sum(amount_micros), 0)::numeric * 1000000 FROM payment p
                WHERE p.tenant_id = a.tenant_id AND invoice_id IS NULL) AS wanted,
            (SELECT COALESCE(sum(amount_picos), 0) FROM posting p
                WHERE p.tenant_id = a.tenant_id AND p.account = 'prepaid') AS found
        FROM account a WHERE $of_tenant
    ) AS compared WHERE wanted <> found
"""

_SERIES = """
    SELECT CAST(NULL AS text) AS tenant_id, 'number ' || wanted AS subject, 'given once' AS left_value,
        count(i.number) || ' documents' AS right_value
    FROM (
        SELECT series || '-' || lpad(each::text, 6, '0') AS wanted
        FROM invoice_series, generate_series(1, last_number) AS each
    ) AS given LEFT JOIN invoice i ON i.number = wanted
    WHERE CAST(:tenant_id AS text) IS NULL GROUP BY wanted HAVING count(i.number) <> 1
"""

COMPARISONS = tuple(
    Comparison.of(left, right, query)
    for left, right, query in (
        (Stage.USAGE, Stage.LEDGER, _BATCHES),
        (Stage.USAGE, Stage.LEDGER, _ADJUSTMENTS),
        (Stage.INVOICE, Stage.INVOICE, _CHAIN),
        (Stage.INVOICE, Stage.INVOICE, _SERIES),
        (Stage.USAGE, Stage.LEDGER, _NOT_INVOICED),
        (Stage.INVOICE, Stage.LEDGER, _DOCUMENTS),
        (Stage.INVOICE, Stage.LEDGER, _BOOKED),
        (Stage.PAYMENT, Stage.LEDGER, _PAYMENTS),
        (Stage.INVOICE, Stage.PAYMENT, _OPEN),
        (Stage.INVOICE, Stage.LEDGER, _RECEIVABLE),
        (Stage.PAYMENT, Stage.LEDGER, _PREPAID),
    )
)
