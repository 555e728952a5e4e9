"""An upgrade of the package brings its models' new versions into service, over a database of the release before."""

import asyncio
from collections.abc import Mapping
from typing import Any

from database_server import DatabaseServer
from database_settings import settings_for
from model_life import CATALOGUE, MODEL, serve_untested
from pool_process import running_pool
from waiting import until_now

from finpool.apps.migrate import migrate
from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import ModelLife, VersionState
from finpool.kernel.database.database import Database

BEFORE = CATALOGUE.get(MODEL).model_copy(
    update={"version": "1", "capabilities": frozenset({"json_schema", "logprobs"})}
)
"""The model as release 0.1.0 declared it."""


def in_database(urls: Mapping[str, str], work: Any) -> Any:
    async def done() -> Any:
        database = Database(settings_for(urls).database_url("pool"), connections_max=1)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(done())


async def life_of(database: Database) -> ModelLife:
    async with database.across_tenants() as session:
        return await versions.life(session, MODEL)


def test_a_pool_of_the_release_before_gets_the_tools_of_its_chat_model_by_a_start(
    database_server: DatabaseServer,
) -> None:
    urls = database_server.new_database("packaged")
    migrate(settings_for(urls))
    in_database(urls, lambda database: serve_untested(database, BEFORE))

    def taken_over() -> ModelLife | None:
        found: ModelLife = in_database(urls, life_of)
        return found if any(each.state is VersionState.RETIRED for each in found.versions) else None

    # A version drains for as long as a gateway may not have heard. Without an index no background model is fetched.
    with running_pool(
        urls=urls, PIP_NO_INDEX="1", FINPOOL_SNAPSHOT_AGE_MAX_SECONDS="1", FINPOOL_QUEUE_TIMEOUT_SECONDS="1"
    ):
        found = until_now(taken_over, "the version before is retired", seconds_max=300, pause_seconds=0.5)
    now = CATALOGUE.get(MODEL)
    states = {each.version: (each.state, "tools" in each.declaration["capabilities"]) for each in found.versions}
    assert states == {"1": (VersionState.RETIRED, False), now.version: (VersionState.SERVING, True)}
    assert found.in_force is not None
    assert found.in_force.split == {now.version: 10_000}
