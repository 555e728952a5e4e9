"""The checks at the end of a run: the engine's own books and the clients' against the platform's records.

Nothing of the product's code is used here: prices are multiplied and balances added up once more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fault_load import Told, answer_of
from signed_context import SignedConnection
from truth_engine import Dispatch, TruthEngine

MICROS = 1_000_000
LOST, DOUBLED, LEDGER = "lost", "double-billed", "ledger"
Row = dict[str, Any]
_TABLES = {
    "usage": "SELECT * FROM usage_record",
    "adjustments": "SELECT * FROM usage_adjustment",
    "accounts": "SELECT * FROM account",
    "budgets": "SELECT * FROM budget",
    "leases": "SELECT * FROM lease",
    "transfers": "SELECT * FROM transfer",
    "logged": (
        "SELECT tenant_id, entry::json -> 'body' ->> 'request_id' AS request_id FROM audit_entry"
        " WHERE entry::json ->> 'kind' = 'usage.recorded'"
    ),
}


@dataclass(frozen=True)
class Difference:
    """Something that does not agree. `kind` is one of the three above."""

    kind: str
    text: str


@dataclass
class Books:
    """Everything the platform recorded, in one snapshot."""

    usage: list[Row] = field(default_factory=list)
    adjustments: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    budgets: list[Row] = field(default_factory=list)
    leases: list[Row] = field(default_factory=list)
    transfers: list[Row] = field(default_factory=list)
    logged: list[Row] = field(default_factory=list)

    def by_request(self) -> dict[str, Row]:
        return {row["request_id"]: row for row in self.usage}

    def balances(self) -> dict[tuple[str, str], int]:
        """Return what every account of every tenant comes to, by tenant and account."""
        found: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.transfers:
            for account, amount in zip(row["accounts"], row["amounts_picos"], strict=True):
                found[row["tenant_id"], account] += int(amount)
        return found


async def read_books(connection: SignedConnection) -> Books:
    """Read every table at one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = {name: [dict(row) for row in await connection.fetch(query)] for name, query in _TABLES.items()}
    return Books(**rows)


def differences(books: Books, engine: TruthEngine, told: Told, prices: tuple[int, int, int]) -> list[Difference]:
    """Return everything that does not agree at rest; `prices` in picos per token: input, cached input, output."""
    return [
        *_lost(books, engine, told),
        *_doubled(books, engine, prices),
        *_repeated(books, told),
        *(Difference(LEDGER, text) for text in _ledger(books)),
    ]


def _lost(books: Books, engine: TruthEngine, told: Told) -> Iterator[Difference]:
    recorded = books.by_request()
    for request_id, seen in told.requests.items():
        row = recorded.get(request_id)
        if seen.status != 200:
            continue
        if row is None:
            yield Difference(LOST, f"{request_id} was answered and is not recorded")
        elif row["tenant_id"] != seen.tenant_id:
            yield Difference(LOST, f"{request_id} of {seen.tenant_id} is recorded for {row['tenant_id']}")
        elif seen.usage is not None and (seen.usage != _tokens(row) or row["outcome"] != "completed"):
            yield Difference(LOST, f"{request_id} was told {seen.usage}, recorded is {row['outcome']} {_tokens(row)}")
        elif row["outcome"] != "crashed" and row["output_tokens"] < len(seen.tokens_at):
            yield Difference(LOST, f"{request_id} got {len(seen.tokens_at)} tokens, recorded are {_tokens(row)}")
    for request_id, dispatch in engine.dispatches.items():
        refused = request_id in told.requests and told.requests[request_id].status != 200
        if dispatch.ended not in ("refused", "unavailable") and not refused and request_id not in recorded:
            yield Difference(LOST, f"{request_id} was computed ({dispatch.ended}) and is not recorded")


def crash_marks_missed(
    books: Books, told: Told, margin_seconds: float, unwritten: Sequence[tuple[float, float]]
) -> list[Difference]:
    """Return requests settled after a crash at less than what their clients had seen `margin_seconds` before it.

    `unwritten` names the times in which a full disk kept marks from being written.
    """
    found = []
    for row in books.usage:
        seen = told.requests.get(row["request_id"])
        if row["outcome"] != "crashed" or seen is None or seen.lost_at is None or not seen.tokens_at:
            continue
        if any(began < seen.lost_at and ended > seen.tokens_at[0] for began, ended in unwritten):
            continue
        known = sum(at < seen.lost_at - margin_seconds for at in seen.tokens_at)
        if row["output_tokens"] < known:
            found.append(Difference(LOST, f"{row['request_id']} crashed after {known} tokens, got {_tokens(row)}"))
    return found


def _doubled(books: Books, engine: TruthEngine, prices: tuple[int, int, int]) -> Iterator[Difference]:
    for request_id, count in Counter(row["request_id"] for row in books.usage).items():
        if count > 1:
            yield Difference(DOUBLED, f"{request_id} is recorded {count} times")
    for request_id, dispatch in engine.dispatches.items():
        if dispatch.times > 1:
            yield Difference(DOUBLED, f"{request_id} was dispatched {dispatch.times} times")
    for row in books.usage:
        dispatch = engine.dispatches.get(row["request_id"], Dispatch(0, 0))
        used = (dispatch.input_tokens, dispatch.cached_input_tokens, dispatch.output_tokens)
        fresh, cached, output = row["input_tokens"] - row["cached_input_tokens"], *_tokens(row)[1:]
        cost = 0 if row["outcome"] == "failed" else fresh * prices[0] + cached * prices[1] + output * prices[2]
        if row["outcome"] == "completed" and _tokens(row) != used:
            yield Difference(DOUBLED, f"{row['request_id']} used {used}, recorded is {_tokens(row)}")
        elif _tokens(row)[:2] not in (used[:2], (0, 0)) or output > used[2]:
            yield Difference(DOUBLED, f"{row['request_id']} used {used} at the most, recorded is {_tokens(row)}")
        elif row["cost_picos"] != cost:
            yield Difference(DOUBLED, f"{row['request_id']} costs {cost} picos, charged are {row['cost_picos']}")


def _repeated(books: Books, told: Told) -> Iterator[Difference]:
    """Yield each idempotency key with several answers, or whose answer is not recorded once and as it was told."""
    recorded = books.by_request()
    for seen in told.repeated:
        whole = {each for each in seen.attempts if each in recorded and recorded[each]["outcome"] == "completed"}
        if len(whole) > 1:
            yield Difference(DOUBLED, f"one key completed {sorted(whole)}")
        if not seen.answers:
            continue
        if len(set(seen.answers)) > 1:
            yield Difference(DOUBLED, f"one key has several answers: {sorted(set(seen.answers))}")
        request_id, usage = answer_of(seen.answers[0])
        row = recorded.get(request_id)
        if row is None:
            yield Difference(LOST, f"{request_id} was answered for its key and is not recorded")
        elif row["tenant_id"] != seen.tenant_id or whole - {request_id}:
            yield Difference(DOUBLED, f"{request_id} of {seen.tenant_id} answered for its key, paid is {sorted(whole)}")
        elif _tokens(row) != usage or row["outcome"] not in ("completed", "crashed"):
            told_usage = f"its key was told {usage}, recorded is {row['outcome']} {_tokens(row)}"
            yield Difference(LOST, f"{request_id} of {told_usage}")


def _ledger(books: Books) -> Iterator[str]:
    balances = books.balances()
    for row in books.transfers:
        if sum(row["amounts_picos"]) != 0:
            yield f"transfer {row['transfer_id']} does not sum to zero"
    for account in books.accounts:
        yield from _account_differences(account, books, balances)
    for budget in books.budgets:
        yield from _budget_differences(budget, books, balances)
    for lease in books.leases:
        held = 0 if lease["closed_at"] else max(0, lease["granted_picos"] - lease["spent_picos"])
        balance = balances[lease["tenant_id"], f"lease:{lease['lease_id']}"]
        if balance != held:
            yield f"lease {lease['lease_id']} holds {held} picos, its account {balance}"
        if not lease["closed_at"]:
            yield f"lease {lease['lease_id']} of {lease['replica_id']} is still open at rest, with {held} picos"
    logged = Counter((row["tenant_id"], row["request_id"]) for row in books.logged)
    recorded = Counter((row["tenant_id"], row["request_id"]) for row in books.usage)
    for key in logged.keys() | recorded.keys():
        if logged[key] != recorded[key]:
            yield f"{key} is recorded {recorded[key]} times and in the audit log {logged[key]} times"


def _account_differences(account: Row, books: Books, balances: dict[tuple[str, str], int]) -> Iterator[str]:
    tenant_id = account["tenant_id"]
    rows = [row for row in (*books.usage, *books.adjustments) if row["tenant_id"] == tenant_id]
    spent = sum(int(row["cost_picos"]) for row in rows)
    invoiced = sum(
        int(amount)
        for row in books.transfers
        if row["tenant_id"] == tenant_id and row["kind"] == "invoice"
        for name, amount in zip(row["accounts"], row["amounts_picos"], strict=True)
        if name == "unbilled"
    )
    for name, amount in (
        ("posted", int(account["posted_picos"])),
        ("unbilled before invoices", balances[tenant_id, "unbilled"] - invoiced),
        ("revenue", -balances[tenant_id, "revenue"]),
    ):
        if amount != spent:
            yield f"{tenant_id} used {spent} picos, {name} is {amount}"
    for row in books.transfers:
        beyond = [account for account in row["accounts"] if account.startswith("available:")]
        if row["tenant_id"] == tenant_id and row["kind"] == "usage" and beyond:
            yield f"transfer {row['transfer_id']} spends what no lease held: {beyond}"
    numbers = sorted(row["usage_seq"] for row in rows)
    if numbers != list(range(1, int(account["usage_seq"]) + 1)):
        yield f"the usage of {tenant_id} is not numbered from 1 to {account['usage_seq']} without a gap"


def _budget_differences(budget: Row, books: Books, balances: dict[tuple[str, str], int]) -> Iterator[str]:
    tenant_id, budget_id = budget["tenant_id"], budget["budget_id"]
    leases = [row for row in books.leases if (row["tenant_id"], row["budget_id"]) == (tenant_id, budget_id)]
    lease_ids = {row["lease_id"] for row in leases}
    paid = [row for row in books.usage if row["tenant_id"] == tenant_id and lease_ids & set(row["lease_ids"])]
    posted, pending = int(budget["posted_picos"]), int(budget["pending_picos"])
    for name, amount in (
        ("its account of what is spent", balances[tenant_id, f"spent:{budget_id}"]),
        ("its leases' spending", sum(int(row["spent_picos"]) for row in leases)),
        ("the usage paid out of them", sum(int(row["cost_picos"]) for row in paid)),
    ):
        if posted != amount:
            yield f"budget {budget_id} posted {posted} picos, {name} is {amount}"
    if -balances[tenant_id, f"available:{budget_id}"] != posted + pending:
        yield f"budget {budget_id} posted {posted} and holds {pending}, its account says otherwise"
    if pending != 0:
        yield f"budget {budget_id} still holds {pending} picos at rest"


def _tokens(row: Row) -> tuple[int, int, int]:
    return row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]
