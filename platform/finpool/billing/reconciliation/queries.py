"""The comparisons of tables in SQL: each query returns only differences, by tenant and subject.

`:tenant_id` is one tenant, or null for all. `:start` and `:end` bound the settlement times of requests. Balances have
no period; they are compared as of the read snapshot.
"""

from dataclasses import dataclass
from string import Template
from typing import Self

from sqlalchemy import TextClause, text

from finpool.billing.reconciliation.schemas import Stage


@dataclass(frozen=True, slots=True)
class Comparison:
    """One query with the columns tenant_id, subject, left_value and right_value."""

    left: Stage
    right: Stage
    query: TextClause

    @classmethod
    def of(cls, left: Stage, right: Stage, query: str) -> Self:
        """Return the comparison of a query after its `$name` parts are filled in."""
        return cls(left, right, text(with_parts(query)))


def with_parts(query: str) -> str:
    """Return a query with its `$name` parts filled in; parts may contain parts."""
    while "$" in query:
        query = Template(query).substitute(_PARTS)
    return query


# An event in the outbox is on its way to the log, so both count as logged.
_LOGGED = """
    SELECT tenant_id, body ->> 'request_id' AS request_id, body ->> 'model_id' AS model_id,
        (body ->> 'input_tokens')::bigint AS input_tokens,
        (body ->> 'cached_input_tokens')::bigint AS cached_input_tokens,
        (body ->> 'output_tokens')::bigint AS output_tokens,
        (body ->> 'cost_picos')::numeric AS cost_picos, body ->> 'outcome' AS outcome,
        body ->> 'operation' AS operation,
        COALESCE(body ->> 'counted_at', body ->> 'settled_at')::timestamptz AS counted
    FROM (
        SELECT tenant_id, content -> 'body' AS body
        FROM (SELECT tenant_id, entry::jsonb AS content FROM audit_entry WHERE $of_tenant OFFSET 0) AS parsed_once
        WHERE content ->> 'kind' = 'usage.recorded'
        UNION ALL
        SELECT tenant_id, body FROM audit_outbox WHERE $of_tenant AND kind = 'usage.recorded'
    ) AS happened
"""
_SPENT_OF_LEASE = """
    SELECT tenant_id, lease_id, sum(cost_picos) AS cost_picos
    FROM usage_record, unnest(lease_ids) AS lease_id WHERE $of_tenant GROUP BY 1, 2
"""
_BALANCE = "SELECT tenant_id, account, sum(amount_picos) AS balance FROM posting WHERE $of_tenant GROUP BY 1, 2"

_PARTS = {
    "counted": "COALESCE(counted_at, settled_at)",
    "of_tenant": "(CAST(:tenant_id AS text) IS NULL OR tenant_id = :tenant_id)",
    "usage_kinds": "('opening', 'usage', 'adjustment', 'lease_charged')",
    "issued": "SELECT * FROM invoice WHERE $of_tenant AND status <> 'draft'",
    "logged": _LOGGED,
    "spent_of_lease": _SPENT_OF_LEASE,
    "balance": _BALANCE,
}

_LOG_USAGE = """
    WITH logged AS (SELECT * FROM ($logged) AS every WHERE counted >= :start AND counted < :end),
    used AS (
        SELECT tenant_id, request_id, model_id, input_tokens, cached_input_tokens, output_tokens, cost_picos, outcome,
            operation
        FROM usage_record WHERE $of_tenant AND $counted >= :start AND $counted < :end
    )
    SELECT tenant_id, 'request ' || request_id AS subject,
        COALESCE(concat_ws(' ', logged.model_id, logged.input_tokens, logged.cached_input_tokens, logged.output_tokens,
            'tokens', logged.cost_picos, logged.outcome, logged.operation), '') AS left_value,
        COALESCE(concat_ws(' ', used.model_id, used.input_tokens, used.cached_input_tokens, used.output_tokens,
            'tokens', used.cost_picos, used.outcome, used.operation), '') AS right_value
    FROM logged FULL JOIN used USING (tenant_id, request_id)
    WHERE (logged.model_id, logged.input_tokens, logged.cached_input_tokens, logged.output_tokens, logged.cost_picos,
            logged.outcome, logged.operation)
        IS DISTINCT FROM (used.model_id, used.input_tokens, used.cached_input_tokens, used.output_tokens,
            used.cost_picos, used.outcome, used.operation)
    UNION ALL
    SELECT tenant_id, 'request ' || request_id, count(*) || ' entries', '1 record'
    FROM logged GROUP BY tenant_id, request_id HAVING count(*) > 1
"""

_NUMBERS = """
    WITH given AS (
        SELECT tenant_id, usage_seq FROM usage_record WHERE $of_tenant
        UNION ALL SELECT tenant_id, usage_seq FROM usage_adjustment WHERE $of_tenant
    ), expected AS (
        SELECT tenant_id, number FROM account, generate_series(1, usage_seq) AS number WHERE $of_tenant
    )
    SELECT COALESCE(given.tenant_id, expected.tenant_id) AS tenant_id,
        'usage number ' || COALESCE(given.usage_seq, expected.number) AS subject,
        CASE WHEN expected.number IS NULL THEN 'not given' ELSE 'given once' END AS left_value,
        count(given.usage_seq) || ' records' AS right_value
    FROM expected FULL JOIN given ON given.tenant_id = expected.tenant_id AND given.usage_seq = expected.number
    GROUP BY 1, 2, 3 HAVING count(given.usage_seq) <> 1 OR bool_or(expected.number IS NULL)
"""

_PRICES = """
    SELECT tenant_id, 'request ' || request_id AS subject, price::text AS left_value, cost_picos::text AS right_value
    FROM (
        SELECT tenant_id, request_id, cost_picos, CASE WHEN outcome = 'failed' THEN 0 ELSE
            (input_tokens - cached_input_tokens)::numeric * input_picos
            + cached_input_tokens::numeric * cached_input_picos + output_tokens::numeric * output_picos END AS price
        FROM usage_record JOIN price_version USING (price_version)
        WHERE $of_tenant AND $counted >= :start AND $counted < :end
    ) AS priced WHERE price <> cost_picos
"""

_ACCOUNT = """
    SELECT tenant_id, 'posted' AS subject, recorded::text AS left_value, posted_picos::text AS right_value
    FROM (
        SELECT a.tenant_id, a.posted_picos,
            (SELECT COALESCE(sum(cost_picos), 0) FROM usage_record u WHERE u.tenant_id = a.tenant_id)
            + (SELECT COALESCE(sum(cost_picos), 0) FROM usage_adjustment d WHERE d.tenant_id = a.tenant_id) AS recorded
        FROM account a WHERE $of_tenant
    ) AS compared WHERE recorded <> posted_picos
"""

_REVENUE = """
    SELECT tenant_id, book AS subject, posted_picos::text AS left_value, balance::text AS right_value
    FROM (
        SELECT a.tenant_id, a.posted_picos, book, COALESCE((
            SELECT sum(CASE book WHEN 'revenue' THEN -amount_picos ELSE amount_picos END) FROM posting p
            WHERE p.tenant_id = a.tenant_id AND p.account = book AND p.kind IN $usage_kinds
        ), 0) AS balance
        FROM account a, unnest(ARRAY['revenue', 'unbilled']) AS book WHERE $of_tenant
    ) AS compared WHERE posted_picos <> balance
"""

_LEASES_USED = """
    WITH charged AS (
        SELECT tenant_id, substr(account, 7) AS lease_id, -sum(amount_picos) AS amount FROM posting
        WHERE $of_tenant AND kind = 'lease_charged' AND account LIKE 'lease:%' GROUP BY 1, 2
    )
    SELECT tenant_id, 'lease ' || lease_id AS subject,
        (COALESCE(used.cost_picos, 0) + COALESCE(charged.amount, 0))::text AS left_value,
        COALESCE(spent_picos, 0)::text AS right_value
    FROM (SELECT * FROM lease WHERE $of_tenant) AS held FULL JOIN ($spent_of_lease) AS used USING (tenant_id, lease_id)
        FULL JOIN charged USING (tenant_id, lease_id)
    WHERE COALESCE(used.cost_picos, 0) + COALESCE(charged.amount, 0) <> COALESCE(spent_picos, 0)
"""

_BUDGET_LEASES = """
    WITH held AS (
        SELECT tenant_id, budget_id, sum(spent_picos) AS spent,
            sum(GREATEST(granted_picos - spent_picos, 0)) FILTER (WHERE closed_at IS NULL) AS open
        FROM lease WHERE $of_tenant GROUP BY 1, 2
    ), adjusted AS (
        SELECT tenant_id, substr(account, 7) AS budget_id, sum(amount_picos) AS amount FROM posting
        WHERE $of_tenant AND account LIKE 'spent:%' AND kind = 'adjustment' GROUP BY 1, 2
    )
    SELECT tenant_id, 'budget ' || budget_id || ': ' || counter AS subject, wanted::text AS left_value,
        found::text AS right_value
    FROM budget LEFT JOIN held USING (tenant_id, budget_id) LEFT JOIN adjusted USING (tenant_id, budget_id),
        LATERAL (VALUES ('posted', COALESCE(spent, 0) + COALESCE(amount, 0), posted_picos),
            ('pending', COALESCE(open, 0), pending_picos)) AS compared (counter, wanted, found)
    WHERE $of_tenant AND wanted <> found
"""

_BUDGET_LEDGER = """
    WITH balances AS ($balance), leased AS (
        SELECT l.tenant_id, l.budget_id, sum(balance) AS balance
        FROM lease l JOIN balances b ON b.tenant_id = l.tenant_id AND b.account = 'lease:' || l.lease_id GROUP BY 1, 2
    )
    SELECT tenant_id, 'budget ' || budget_id || ': ' || counter AS subject, wanted::text AS left_value,
        found::text AS right_value
    FROM budget b LEFT JOIN leased USING (tenant_id, budget_id),
        LATERAL (SELECT COALESCE(sum(balance), 0) AS amount FROM balances s
            WHERE s.tenant_id = b.tenant_id AND s.account = 'spent:' || b.budget_id) AS spent,
        LATERAL (SELECT COALESCE(sum(balance), 0) AS amount FROM balances s
            WHERE s.tenant_id = b.tenant_id AND s.account = 'available:' || b.budget_id) AS available,
        LATERAL (VALUES ('posted', posted_picos, spent.amount),
            ('pending', pending_picos, COALESCE(leased.balance, 0)),
            ('available', -posted_picos - pending_picos, available.amount)) AS compared (counter, wanted, found)
    WHERE $of_tenant AND wanted <> found
"""

_LEASE_LEDGER = """
    SELECT tenant_id, 'lease ' || lease_id AS subject, held::text AS left_value, balance::text AS right_value
    FROM (
        SELECT COALESCE(l.tenant_id, b.tenant_id) AS tenant_id, COALESCE(lease_id, substr(account, 7)) AS lease_id,
            CASE WHEN lease_id IS NULL OR closed_at IS NOT NULL THEN 0
                ELSE GREATEST(granted_picos - spent_picos, 0) END AS held,
            COALESCE(balance, 0) AS balance
        FROM (SELECT * FROM lease WHERE $of_tenant) AS l
        FULL JOIN (SELECT * FROM ($balance) AS every WHERE account LIKE 'lease:%') AS b
            ON b.tenant_id = l.tenant_id AND b.account = 'lease:' || l.lease_id
    ) AS compared WHERE held <> balance
"""

_UNKNOWN_ACCOUNTS = """
    SELECT tenant_id, 'account ' || account AS subject, 'no such account' AS left_value, balance::text AS right_value
    FROM ($balance) AS b
    WHERE balance <> 0 AND account NOT LIKE 'lease:%' AND account NOT IN (
            'unbilled', 'revenue', 'receivable', 'fees', 'tax', 'rounding', 'cash', 'prepaid')
        AND NOT EXISTS (SELECT FROM budget g WHERE g.tenant_id = b.tenant_id
            AND b.account IN ('spent:' || g.budget_id, 'available:' || g.budget_id))
    UNION ALL
    SELECT tenant_id, 'sum of all accounts', '0', sum(balance)::text FROM ($balance) AS b
    GROUP BY tenant_id HAVING sum(balance) <> 0
"""

COMPARISONS = tuple(
    Comparison.of(left, right, query)
    for left, right, query in (
        (Stage.LOG, Stage.USAGE, _LOG_USAGE),
        (Stage.ACCOUNT, Stage.USAGE, _NUMBERS),
        (Stage.PRICE, Stage.USAGE, _PRICES),
        (Stage.USAGE, Stage.ACCOUNT, _ACCOUNT),
        (Stage.USAGE, Stage.LEASE, _LEASES_USED),
        (Stage.LEASE, Stage.BUDGET, _BUDGET_LEASES),
        (Stage.ACCOUNT, Stage.LEDGER, _REVENUE),
        (Stage.BUDGET, Stage.LEDGER, _BUDGET_LEDGER),
        (Stage.LEASE, Stage.LEDGER, _LEASE_LEDGER),
        (Stage.LEDGER, Stage.LEDGER, _UNKNOWN_ACCOUNTS),
    )
)
