"""Bugs that gateways have had, planted into the product's own processes as they start; the checks must name each.

Each function is one bug. It replaces a piece of the product in the process that calls it. It raises if that piece is no
longer there: nobody would find a bug that cannot be planted any more.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from finpool.gateway.call.call import Call
from finpool.metering.recorder import recorder as recorder_module
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool import schemas as record_schemas
from finpool.metering.spool.schemas import Outcome, Settlement
from finpool.metering.spool.spool import Spool
from finpool.quota.account import service as account_service
from finpool.quota.grant import grants
from finpool.quota.ledger import schemas as ledger_schemas
from finpool.quota.ledger import service as ledger_service
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.leases import Leases
from finpool.serving.backend.service import Backends

PRICE_MICROS = 1_000_000


def _put(owner: Any, name: str, bug: Any) -> Any:
    """Put the bug in the place of the product's code; returns what was."""
    original = getattr(owner, name)
    setattr(owner, name, bug)
    return original


def _cost(bug: Callable[[Settlement, int], int]) -> None:
    """Let a settlement cost what the bug makes of its true cost."""
    true_cost = record_schemas.Settlement.cost_picos.fget  # type: ignore[attr-defined]
    _put(Settlement, "cost_picos", property(lambda settlement: bug(settlement, true_cost(settlement))))


def idempotency_check_skipped() -> None:
    """The recorder does not move its position: recorded usage is recorded again."""

    async def not_moved(self: Recorder, *_: Any) -> None:
        return

    _put(Recorder, "_move_position", not_moved)
    _put(Recorder, "_trim", lambda self, seq: None)


def posted_twice() -> None:
    """The usage is written once and charged twice."""

    async def twice(*args: Any) -> None:
        await post(*args)
        await post(*args)

    post = _put(account_service, "post", twice)


def record_skipped() -> None:
    """The recorder drops the last record of each batch that holds several."""

    async def without_last(self: Recorder, session: Any, rows: Any) -> Any:
        return await record(self, session, rows[:-1] if len(rows) > 1 else rows)

    record = _put(Recorder, "_record", without_last)


def spooled_twice() -> None:
    """A settlement goes into the spool twice, the second time under another id: nothing in the database objects."""

    async def twice(self: Spool, settlement: Settlement) -> None:
        await settle(self, settlement)
        await settle(self, replace(settlement, intent=replace(settlement.intent, request_id=_other_id(settlement))))

    settle = _put(Spool, "settle", twice)


def _other_id(settlement: Settlement) -> str:
    return settlement.intent.request_id[:-1] + "_"


def released_on_crash() -> None:
    """A start forgets what an earlier run had dispatched."""

    def forget(self: Spool) -> None:
        self._connection.execute("DELETE FROM intent")

    _put(Spool, "_recover", forget)


def marks_ignored() -> None:
    """A crash settles at zero, however far the answer had come."""
    _put(Spool, "mark", lambda self, *_: None)


def intent_not_written() -> None:
    """A request is dispatched before it is on record."""

    async def nothing(self: Spool, intent: Any) -> None:
        return

    _put(Spool, "intend", nothing)


def lease_beyond_the_rest() -> None:
    """A grant of a lease does not count the leases of other replicas."""

    async def without_pending(*args: Any) -> Any:
        rest = await budget_rest(*args)
        granted = max(rest.granted_picos, min(rest.need.wanted_picos, rest.limit_picos // 2))
        return replace(rest, rest_picos=rest.limit_picos, granted_picos=granted)

    budget_rest = _put(grants, "budget_rest", without_pending)


def lease_of_a_remembered_rest() -> None:
    """The rest of a budget is not read under the account's lock but remembered from the first time."""
    remembered: dict[Any, Any] = {}

    async def from_memory(session: Any, account: Any, need: Any, *args: Any) -> Any:
        if need.key not in remembered:
            remembered[need.key] = await budget_rest(session, account, need, *args)
        rest = remembered[need.key]
        granted = min(rest.rest_picos, max(need.needed_picos, min(need.wanted_picos, rest.rest_picos // 2)))
        return replace(rest, need=need, granted_picos=granted)

    budget_rest = _put(grants, "budget_rest", from_memory)


def lease_returned_early() -> None:
    """A lease goes back while requests are still paid out of it."""

    def all_of_them(self: Leases, *_: Any) -> list[Any]:
        return list(self._by_id.values())

    _put(Leases, "unused", all_of_them)
    _put(Leases, "forget", lambda self, lease: None)


def lease_never_returned() -> None:
    """An unused lease keeps its money."""

    async def nothing(self: Allotments) -> None:
        return

    _put(Allotments, "return_unused", nothing)
    _put(Allotments, "recover", nothing)


def share_handed_out_twice() -> None:
    """A grant of a rate share does not count the shares of other replicas."""

    async def as_wanted(*args: Any) -> Any:
        rest = await rate_room(*args)
        return replace(rest, room=max(rest.room, rest.need.wanted), amount=max(rest.amount, rest.need.wanted))

    rate_room = _put(grants, "rate_room", as_wanted)


def failure_charged() -> None:
    """Tokens of an engine that failed are charged."""

    def charge(settlement: Settlement, cost: int) -> int:
        return cost or settlement.intent.cost_picos(
            settlement.input_tokens, settlement.cached_input_tokens, settlement.output_tokens
        )

    _cost(charge)


def cost_cut_to_the_reservation() -> None:
    """A cost above some bound is cut to it."""
    _cost(lambda settlement, cost: min(cost, 40 * PRICE_MICROS))


def cached_tokens_at_the_full_price() -> None:
    """Tokens out of the cache cost as much as those that were computed."""

    def full_price(settlement: Settlement, cost: int) -> int:
        if settlement.outcome is Outcome.FAILED:
            return cost
        return settlement.intent.cost_picos(settlement.input_tokens, 0, settlement.output_tokens)

    _cost(full_price)


def usage_of_another_tenant() -> None:
    """The usage of one bank is recorded for the other."""

    def crossed(settlement: Settlement) -> Settlement:
        other = {"bank-a": "bank-b", "bank-b": "bank-a"}[settlement.intent.tenant_id]
        return replace(settlement, intent=replace(settlement.intent, tenant_id=other, lease_ids=()))

    decode: Any = _put(recorder_module, "decode_settlement", lambda body: crossed(decode(body)))


def transfer_out_of_balance() -> None:
    """A transfer of usage loses one of its accounts: the database refuses it, and nothing can be recorded."""

    async def one_sided(session: Any, tenant_id: Any, kind: Any, reference: Any, amounts: Any) -> None:
        if kind is not ledger_schemas.TransferKind.USAGE:
            await transfer(session, tenant_id, kind, reference, amounts)
            return
        kept, product = dict(list(amounts.items())[1:]), cast(Any, ledger_service)
        await session.execute(
            product.insert(product.Transfer).values(
                tenant_id=tenant_id,
                transfer_id=product.new_id("transfer"),
                kind=kind.value,
                reference=reference,
                accounts=list(kept),
                amounts_picos=list(kept.values()),
                occurred_at=product.now(),
            )
        )

    transfer = _put(ledger_service, "transfer", one_sided)


def abort_costs_nothing() -> None:
    """A client that leaves in the middle of an answer has had what it read for nothing."""

    async def forgiving(self: Call, outcome: Outcome | None) -> None:
        await finish(self, None if outcome is Outcome.ABORTED else outcome)

    finish = _put(Call, "_finish", forgiving)


def abort_billed_one_token() -> None:
    """A client that leaves in the middle of an answer is charged one token of it."""

    async def one_token(self: Spool, settlement: Settlement) -> None:
        cut = settlement.outcome is Outcome.ABORTED and settlement.output_tokens > 1
        await settle(self, replace(settlement, output_tokens=1) if cut else settlement)

    settle = _put(Spool, "settle", one_token)


def dispatched_twice() -> None:
    """A request is sent to the engine again without being asked to."""

    async def again(self: Backends, *args: Any) -> Any:
        exchange = await send(self, *args)
        (await send(self, *args)).close()
        return exchange

    send = _put(Backends, "_send", again)
