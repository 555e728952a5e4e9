"""The pool's capacity and the estimate for a new bank, computed from measured rates."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.catalogue.model.engine import PoolEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.node import service as node_service
from finpool.catalogue.node.schemas import EngineNeeds, Node
from finpool.catalogue.price.schemas import BASIS_POINTS
from finpool.catalogue.version import service as version_service
from finpool.catalogue.version.schemas import Measurements, ModelLife, Version, VersionState
from finpool.kernel.clock import now
from finpool.metering.usage import service as metering
from finpool.metering.usage.schemas import UsageDimension
from finpool.oversight.capacity.schemas import (
    PERCENT,
    CapacityView,
    EstimateQuery,
    EstimateView,
    NodeCapacity,
    Rates,
    VersionCapacity,
    replicas_wanted,
)
from finpool.oversight.errors import NotMeasured


async def capacity(session: AsyncSession, catalogue: Catalogue, window_seconds: int) -> CapacityView:
    """Return the pool's nodes, and the needs, rates and rest of each version that is not retired."""
    nodes, lives = await node_service.nodes(session), await version_service.lives(session)
    used = await _rates_across_tenants(session, catalogue, window_seconds)
    return CapacityView(
        window_seconds=window_seconds,
        nodes=[NodeCapacity.of(node) for node in nodes],
        versions=[
            _version(version, version.of(model), lives[model.id], used.get(model.id, Rates(0, 0)), nodes)
            for model in catalogue.with_engines()
            if model.id in lives
            for version in lives[model.id].versions
            if version.state is not VersionState.RETIRED
        ],
    )


async def estimate(session: AsyncSession, catalogue: Catalogue, query: EstimateQuery) -> EstimateView:
    """Return the needs of a bank with these rates beside the current use. Raises `ModelNotFound` or `NotMeasured`."""
    model = catalogue.get(catalogue.get(query.model).engine_id)
    lives = await version_service.lives(session)
    version, measured = _main_version(model, lives.get(model.id))
    used = await _rates_across_tenants(session, catalogue, query.window_seconds)
    served = version.of(model)
    usable = 1 - query.headroom_percent / PERCENT
    taken = Rates(query.input_tokens_per_second, query.output_tokens_per_second).engines(measured) / usable
    busy = used.get(model.id, Rates(0, 0)).engines(measured) / usable
    left = max(0.0, _replicas_max(served) - busy)
    fitting = EngineNeeds.of(served).fit(await node_service.nodes(session))
    wanted = replicas_wanted(taken, left)
    return EstimateView(
        model=model.id,
        version=version.version,
        measured_at=measured.measured_at,
        replicas_taken_hundredths=round(taken * PERCENT),
        replicas_left_hundredths=round(left * PERCENT),
        replicas_wanted=wanted,
        replicas_that_fit=fitting,
        fits=wanted <= sum(fitting.values()),
    )


async def _rates_across_tenants(
    session: AsyncSession, catalogue: Catalogue, window_seconds: int
) -> Mapping[str, Rates]:
    """Return the token rates of the last `window_seconds`, by the model whose engine served them."""
    end = now()
    groups = await metering.usage(
        session,
        start=end - timedelta(seconds=window_seconds),
        end=end,
        group_by=[UsageDimension.MODEL],
        tenant_id=None,
    )
    engine_of: dict[str, str] = {model.id: model.engine_id for model in catalogue.all()}
    rates: dict[str, Rates] = {}
    for group in groups:
        engine = engine_of.get(group.model_id or "")
        if engine is not None:
            before = rates.get(engine, Rates(0, 0))
            rates[engine] = Rates(
                before.input_tokens + (group.input_tokens - group.cached_input_tokens) / window_seconds,
                before.output_tokens + group.output_tokens / window_seconds,
            )
    return rates


def _version(version: Version, model: Model, life: ModelLife, used: Rates, nodes: list[Node]) -> VersionCapacity:
    needs, measured = EngineNeeds.of(model), version.measurements
    basis_points = 0 if life.in_force is None else life.in_force.split.get(version.version, 0)
    busy = None if measured is None else used.engines(measured) * basis_points / BASIS_POINTS / _replicas_max(model)
    left = None
    if measured is not None and busy is not None and version.state is VersionState.SERVING:
        left = round(max(0.0, 1 - busy) * _replicas_max(model) * measured.output_tokens_per_second_full)
    return VersionCapacity(
        model=model.id,
        version=version.version,
        state=version.state.value,
        replicas_min=model.engine.replicas_min if isinstance(model.engine, PoolEngine) else 0,
        replicas_max=_replicas_max(model),
        cpus=needs.cpus,
        accelerator=needs.accelerator,
        accelerator_percent=needs.accelerator_percent,
        output_tokens_per_second=None if measured is None else measured.output_tokens_per_second_full,
        input_tokens_per_second=None if measured is None else measured.input_tokens_per_second,
        memory_bytes=None if measured is None else measured.memory_bytes,
        used_percent=None if busy is None else round(busy * PERCENT),
        output_tokens_per_second_left=left,
        replicas_that_fit=needs.fit(nodes),
    )


def _replicas_max(model: Model) -> int:
    return model.engine.replicas_max


def _main_version(model: Model, life: ModelLife | None) -> tuple[Version, Measurements]:
    """Return the version with the most requests, and its measurements; raise `NotMeasured` without one."""
    routing = None if life is None else life.in_force
    if life is None or routing is None:
        raise NotMeasured(model.id)
    name = max(routing.split, key=lambda each: routing.split[each])
    version = next(each for each in life.versions if each.version == name)
    if version.measurements is None:
        raise NotMeasured(model.id)
    return version, version.measurements
