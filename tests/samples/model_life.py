"""A model's life as operators and the pool write it, for tests that need neither a pool nor an engine."""

from functools import partial
from typing import Any

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.version import life
from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import Measurements, VersionState
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database

MODEL = "smollm2-135m-instruct"
PATH = f"/v1/models/{MODEL}"
CATALOGUE = Catalogue.load(default_directory())
FAST = {
    "load_ms": 1,
    "first_token_ms": 1,
    "input_tokens_per_second": 1,
    "output_tokens_per_second": 1,
    "output_tokens_per_second_full": 1,
    "streams": 4,
    "memory_bytes": 1,
    "golden_prompts": 0,
}


def proposed(**changes: Any) -> dict[str, Any]:
    declared = CATALOGUE.get(MODEL).model_dump(mode="json")
    names = ("engine", "weights", "context_tokens", "output_tokens_default", "output_tokens_max", "licence")
    return {**{name: declared[name] for name in names}, "version": "2", **changes}


class LifeWriter:
    """The pool's writes, without a pool."""

    def __init__(self, database: Any, **measured: int) -> None:
        self._database = database("pool")
        self._measured = {**FAST, **measured}

    async def declare(self, *, packaged: bool = False, **changes: Any) -> None:
        """Declare version 1 of the model, or another one; the version of the package does not matter."""
        declared = CATALOGUE.get(MODEL).model_copy(update={"version": "1", **changes})
        async with self._database.across_tenants() as session:
            await life.declare(session, declared, packaged=packaged)

    async def move(self, name: str, *states: VersionState) -> None:
        for state in states:
            async with self._database.across_tenants() as session:
                (held,) = [v for v in (await versions.life(session, MODEL)).versions if v.version == name]
                if state is VersionState.SERVING:
                    await life.passed(session, held, Measurements(**self._measured, measured_at=now()))
                moves = life.serve if state is VersionState.SERVING else partial(life.move, state=state)
                assert await moves(session, held)

    async def serve(self, name: str) -> None:
        await self.move(name, VersionState.TESTING, VersionState.SERVING)

    async def fail(self, name: str, fault: str) -> None:
        async with self._database.across_tenants() as session:
            (held,) = [v for v in (await versions.life(session, MODEL)).versions if v.version == name]
            await life.fail(session, held, fault)


async def serve_untested(database: Database, model: Model) -> None:
    """Write a model's first version as an earlier run of the pool left it: tested and serving. Twice is as once."""
    async with database.across_tenants() as session:
        await life.declare(session, model)
    for state in (VersionState.TESTING, VersionState.SERVING):
        async with database.across_tenants() as session:
            (held,) = (await versions.life(session, model.id)).versions
            if held.state is VersionState.SERVING:
                return
            if state is VersionState.SERVING:
                await life.passed(session, held, Measurements(**FAST, measured_at=now()))
            assert await life.move(session, held, state)


async def listed(admin: Any) -> dict[str, dict[str, Any]]:
    return {each["version"]: each for each in (await admin.get(f"{PATH}/versions")).json()["data"]}


async def shares(admin: Any) -> dict[str, int]:
    return {name: each["share_basis_points"] for name, each in (await listed(admin)).items()}


async def started(admin: Any, name: str = "2", **changes: Any) -> None:
    """Propose a version, accept its licence, and start it."""
    assert (await admin.post(f"{PATH}/versions", json=proposed(version=name, **changes))).status_code == 201
    for step, body in (("licence", {"licence": "Apache-2.0"}), ("start", {})):
        assert (await admin.post(f"{PATH}/versions/{name}/{step}", json=body)).status_code == 200
