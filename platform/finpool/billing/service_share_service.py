"""Evidence of fair shares, computed from usage records and contracts, so that anybody who has both can check it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.entitlement_schemas import EQUAL, Entitlement, weight_parts
from finpool.billing.service_share_schemas import ServiceShareQuery, ServiceShares, ServiceWindow, TenantShare
from finpool.catalogue.schemas import INPUT_WEIGHT, OUTPUT_WEIGHT
from finpool.catalogue.service import Catalogue
from finpool.kernel.ids import ModelId, TenantId

_EPSILON = 1e-9

_SERVED = text(f"""
    SELECT CAST(floor(extract(epoch FROM settled_at) / :seconds) AS bigint) AS number, tenant_id,
           count(*) AS requests, sum({INPUT_WEIGHT} * input_tokens + {OUTPUT_WEIGHT} * output_tokens) AS service,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY queue_ms) AS queue_ms_median,
           percentile_disc(0.95) WITHIN GROUP (ORDER BY queue_ms) AS queue_ms_p95,
           max(queue_ms) AS queue_ms_max
    FROM usage_record
    WHERE model_id = ANY(:models) AND settled_at >= :start AND settled_at < :end
    GROUP BY 1, 2 ORDER BY 1, 2
""")  # noqa: S608 - put together from constants.

_TERMS = text("""
    SELECT tenant_id, valid_from, service_weight, service_share_min_basis_points FROM contract
    WHERE valid_from < :end ORDER BY valid_from, version
""")


async def service_shares_across_tenants(
    session: AsyncSession, catalogue: Catalogue, model_id: str, query: ServiceShareQuery
) -> ServiceShares:
    """Return what the engine of a model gave to whom, window by window; raises `ModelNotFound`.

    Windows begin at whole multiples of their length since 1970, and the first and the last are cut to the time asked
    for. A contract counts as it was when the window began.
    """
    engine = catalogue.get(model_id).engine_id
    models = [model.id for model in catalogue.all() if model.engine_id == engine]
    parameters: dict[str, Any] = {"start": query.start, "end": query.end}
    served = await session.execute(_SERVED, {**parameters, "models": models, "seconds": query.window_seconds})
    rows: dict[int, list[RowMapping]] = {}
    for row in served.mappings():
        rows.setdefault(int(row["number"]), []).append(row)
    terms = (await session.execute(_TERMS, {"end": query.end})).mappings().all()
    return ServiceShares(
        engine=ModelId(engine),
        models=models,
        window_seconds=query.window_seconds,
        data=[_window(number, of_tenants, terms, query) for number, of_tenants in rows.items()],
    )


def _window(
    number: int, rows: Sequence[RowMapping], terms: Sequence[RowMapping], query: ServiceShareQuery
) -> ServiceWindow:
    start = datetime.fromtimestamp(number * query.window_seconds, UTC)
    end = start + timedelta(seconds=query.window_seconds)
    total = sum(int(row["service"]) for row in rows)
    claims = _claims_at(start, terms)
    weights = weight_parts({TenantId(row["tenant_id"]): claims.get(row["tenant_id"], EQUAL) for row in rows})
    shares = {TenantId(row["tenant_id"]): int(row["service"]) / max(1, total) for row in rows}
    entitled = {tenant_id: weight / sum(weights.values()) for tenant_id, weight in weights.items()}
    return ServiceWindow(
        start=max(start, query.start),
        end=min(end, query.end),
        service=total,
        tenants=[_share(row, shares, entitled) for row in rows],
    )


def _claims_at(at: datetime, terms: Sequence[RowMapping]) -> dict[str, Entitlement]:
    """Return the claims by the contract of each tenant that held at a moment; `terms` are in the order they begin."""
    return {
        row["tenant_id"]: Entitlement(row["service_weight"], row["service_share_min_basis_points"])
        for row in terms
        if row["valid_from"] <= at
    }


def _share(row: RowMapping, shares: Mapping[TenantId, float], entitled: Mapping[TenantId, float]) -> TenantShare:
    tenant_id = TenantId(row["tenant_id"])
    beyond = sum(max(0.0, shares[each] - entitled[each]) for each in shares if each != tenant_id)
    short = entitled[tenant_id] - shares[tenant_id]
    index = min(short, beyond) if row["queue_ms_max"] and short > _EPSILON else 0.0
    return TenantShare(
        tenant_id=tenant_id,
        requests=row["requests"],
        service=int(row["service"]),
        share=round(shares[tenant_id], 6),
        entitled_share=round(entitled[tenant_id], 6),
        noisy_neighbour_index=round(index, 6),
        queue_ms_median=row["queue_ms_median"],
        queue_ms_p95=row["queue_ms_p95"],
        queue_ms_max=row["queue_ms_max"],
    )
