"""The versions that serve requests, in memory: a snapshot that follows the database."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.version import service
from finpool.catalogue.version.errors import ModelNotReady
from finpool.catalogue.version.schemas import ModelLife, chosen, on_version
from finpool.kernel.answer_headers import retry_after
from finpool.kernel.ids import ModelId, TenantId
from finpool.kernel.logs import logger

RETRY_SECONDS = 5
_log = logger("catalogue.versions")


@dataclass(frozen=True, slots=True)
class _Routed:
    """A model's and its adapters' versions that get requests; empty while no version is ready."""

    versions: Mapping[tuple[ModelId, str], Model]
    split: Mapping[str, int]
    loads_ms: Mapping[str, int]


class VersionDirectory:
    """The versions in force of every model. A model without rows in the database serves as declared."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._routed: dict[ModelId, _Routed] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reload of versions and routings."""
        self._listeners.append(listener)

    def engine_keys(self) -> set[str]:
        """Return the keys of the engines that serve requests."""
        keys = set()
        for model in self._catalogue.with_engines():
            routed = self._routed.get(model.id)
            keys |= {model.engine_key} if routed is None else {each.engine_key for each in routed.versions.values()}
        return keys

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Reload every version and routing; a change of one tenant affects none of them."""
        if tenant_id is not None:
            return
        lives = await service.lives(session)
        self._routed = {
            model.id: _route(model, self._catalogue.adapters_of(model.id), lives[model.id])
            for model in self._catalogue.with_engines()
            if model.id in lives
        }
        for listener in self._listeners:
            listener()

    def version_for(self, model: Model, request_id: str) -> Model:
        """Return the version of `model` that serves a request; raise `ModelNotReady` if none does.

        The CRC32 of the request's id chooses the version in proportion to the split, so the same request always gets
        the same version.
        """
        routed = self._routed.get(model.engine_id)
        if routed is None:
            return model
        if not routed.split:
            raise ModelNotReady(
                f"The model '{model.id}' is being made ready.",
                headers=retry_after(RETRY_SECONDS * 1000),
            )
        return routed.versions[model.id, chosen(routed.split, request_id)]

    def load_ms(self, model: Model) -> int | None:
        """Return the load time of a version in ms as its acceptance test measured it, or None without a measurement."""
        routed = self._routed.get(model.engine_id)
        return None if routed is None else routed.loads_ms.get(model.version)


def _route(model: Model, adapters: Iterable[Model], life: ModelLife) -> _Routed:
    if life.in_force is None:
        return _Routed({}, {}, {})
    try:
        routed = {each.version: each.of(model) for each in life.versions if each.version in life.in_force.routed}
    except ValueError as error:
        _log.error("a version does not fit its model", model=model.id, reason=str(error))
        return _Routed({}, {}, {})
    loads_ms = {each.version: each.measurements.load_ms for each in life.versions if each.measurements is not None}
    versions = {(model.id, name): version for name, version in routed.items()}
    for adapter in adapters:
        versions |= {(adapter.id, name): on_version(adapter, version) for name, version in routed.items()}
    return _Routed(versions, {name: life.in_force.split[name] for name in routed}, loads_ms)
