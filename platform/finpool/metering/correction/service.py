"""Corrections of usage that was estimated after a crash: each is a new `usage_adjustment` row; the record stays."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import service as audit
from finpool.catalogue.model.schemas import TokenUsage
from finpool.catalogue.price import service as prices
from finpool.kernel.actor import Actor
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId
from finpool.kernel.money import to_micros_ceiling
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.metering.adjustment.service import Adjustment, adjust_request
from finpool.metering.correction.schemas import CorrectedUsageView, EstimatedUsageView, NewCorrection
from finpool.metering.errors import CorrectionRefused, UsageNotFound
from finpool.metering.models import UsageAdjustment, UsageRecord
from finpool.metering.spool.schemas import Outcome
from finpool.quota.account import service as accounts

KIND = "correction"


class Delta(NamedTuple):
    """The sum of a request's corrections, and their number."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_picos: int
    corrections: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The current counts of a request: its tokens, its exact cost in picos, and the number of its corrections."""

    usage: TokenUsage
    cost_picos: int
    corrections: int


async def estimated(session: AsyncSession, tenant_id: TenantId, query: PageQuery) -> ListPage[EstimatedUsageView]:
    """Return a page of a tenant's requests that were settled at their last mark, ordered by request id."""
    mine = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.estimated))
    if query.after is not None:
        mine = mine.where(col(UsageRecord.request_id) > query.after)
    mine = mine.order_by(col(UsageRecord.request_id)).limit(query.limit + 1)
    records = list((await session.execute(mine)).scalars())
    deltas = await _deltas(session, tenant_id, [each.request_id for each in records])
    return page_of(records, query, lambda each: _view(each, _counted(each, deltas.get(each.request_id))))


async def correct(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, request_id: str, body: NewCorrection
) -> CorrectedUsageView:
    """Set a request's true usage, at the price of its admission; the difference becomes a usage adjustment.

    A second correction is relative to the first, and an equal one writes nothing. Raises `UsageNotFound`, or
    `CorrectionRefused` if the request was not estimated or its price is unknown.
    """
    # Lock the account first: two concurrent corrections would otherwise both be relative to the same counts.
    await accounts.lock_accounts(session, {tenant_id})
    mine = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    record = (await session.execute(mine)).scalar_one_or_none()
    if record is None:
        raise UsageNotFound(f"Tenant {tenant_id} has no usage record of request {request_id}.")
    deltas = await _deltas(session, tenant_id, [request_id])
    counted = _counted(record, deltas.get(request_id))
    truth = TokenUsage(body.input_tokens, body.cached_input_tokens, body.output_tokens)
    cost_picos = await _cost(session, record, truth)
    if (truth, cost_picos) == (counted.usage, counted.cost_picos):
        return _corrected(record, counted, None)
    corrected = Counted(truth, cost_picos, counted.corrections + 1)
    adjustment = _difference(counted, corrected, body.reason)
    await adjust_request(session, actor, record, adjustment)
    await _append_event(session, actor, record, adjustment)
    return _corrected(record, corrected, adjustment.adjustment_id)


async def _cost(session: AsyncSession, record: UsageRecord, truth: TokenUsage) -> int:
    """Return the cost of the true usage; raise `CorrectionRefused` unless the known price yields the recorded cost."""
    if not record.estimated:
        raise CorrectionRefused("Only estimated usage can be corrected; the engine reported this usage.")
    if record.outcome == Outcome.FAILED:
        return 0
    price = (await prices.price_versions(session, [record.price_version])).get(record.price_version)
    recorded = TokenUsage(record.input_tokens, record.cached_input_tokens, record.output_tokens)
    if price is None or price.cost(recorded) != record.cost_picos:
        raise CorrectionRefused(
            f"The price {record.price_version} of this request is not known, so nothing is changed."
        )
    return price.cost(truth)


def _difference(before: Counted, after: Counted, reason: str) -> Adjustment:
    return Adjustment(
        kind=KIND,
        reason=reason,
        cost_picos=after.cost_picos - before.cost_picos,
        input_tokens=after.usage.input_tokens - before.usage.input_tokens,
        cached_input_tokens=after.usage.cached_input_tokens - before.usage.cached_input_tokens,
        output_tokens=after.usage.output_tokens - before.usage.output_tokens,
    )


async def _append_event(session: AsyncSession, actor: Actor, record: UsageRecord, adjustment: Adjustment) -> None:
    body = asdict(adjustment) | {
        "request_id": record.request_id,
        "price_version": record.price_version,
        "currency": record.currency,
        "cost_picos": str(adjustment.cost_picos),
    }
    del body["kind"]
    tenant_id = TenantId(record.tenant_id)
    await audit.append(session, kind="usage.corrected", tenant_id=tenant_id, actor=actor, body=body)


async def _deltas(session: AsyncSession, tenant_id: TenantId, request_ids: Sequence[str]) -> dict[str, Delta]:
    """Return the sum of each request's corrections."""
    summed = (
        rows_of(tenant_id, UsageAdjustment)
        .with_only_columns(
            col(UsageAdjustment.request_id),
            func.sum(col(UsageAdjustment.input_tokens)).label("input_tokens"),
            func.sum(col(UsageAdjustment.cached_input_tokens)).label("cached_input_tokens"),
            func.sum(col(UsageAdjustment.output_tokens)).label("output_tokens"),
            func.sum(col(UsageAdjustment.cost_picos)).label("cost_picos"),
            func.count().label("corrections"),
        )
        .where(col(UsageAdjustment.request_id).in_(request_ids), col(UsageAdjustment.kind) == KIND)
        .group_by(col(UsageAdjustment.request_id))
    )
    return {str(row[0]): Delta(*map(int, row[1:])) for row in await session.execute(summed)}


def _counted(record: UsageRecord, delta: Delta | None) -> Counted:
    usage = TokenUsage(record.input_tokens, record.cached_input_tokens, record.output_tokens)
    if delta is None:
        return Counted(usage, record.cost_picos, 0)
    corrected = TokenUsage(
        usage.input_tokens + delta.input_tokens,
        usage.cached_input_tokens + delta.cached_input_tokens,
        usage.output_tokens + delta.output_tokens,
    )
    return Counted(corrected, record.cost_picos + delta.cost_picos, delta.corrections)


def _corrected(record: UsageRecord, counted: Counted, adjustment_id: str | None) -> CorrectedUsageView:
    return CorrectedUsageView(**_view(record, counted).model_dump(), adjustment_id=adjustment_id)


def _view(record: UsageRecord, counted: Counted) -> EstimatedUsageView:
    return EstimatedUsageView(
        id=record.request_id,
        tenant_id=TenantId(record.tenant_id),
        project_id=record.project_id,
        model_id=record.model_id,
        input_tokens=counted.usage.input_tokens,
        cached_input_tokens=counted.usage.cached_input_tokens,
        output_tokens=counted.usage.output_tokens,
        cost_micros=to_micros_ceiling(counted.cost_picos),
        currency=record.currency,
        settled_at=record.settled_at,
        corrected=counted.corrections > 0,
    )
