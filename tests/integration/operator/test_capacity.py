"""Room on the nodes, free capacity, and the needs of a new bank, from measured rates."""

from typing import Any

import pytest
from model_life import MODEL, LifeWriter

from finpool.catalogue.node import service as node_service
from finpool.catalogue.node.schemas import Node
from finpool.catalogue.version.schemas import VersionState
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database

MEASURED = {"output_tokens_per_second_full": 100, "input_tokens_per_second": 1_000, "memory_bytes": 600_000_000}


@pytest.fixture
async def serving(admin: Any, database: Any) -> Any:
    """One version serves, measured, on a node with room for two engines more."""
    pool = LifeWriter(database, **MEASURED)
    await pool.declare()
    await pool.serve("1")
    await tell_nodes(database("pool"), cpus_free=4)
    return admin


async def tell_nodes(database: Database, cpus_free: int) -> None:
    async with database.across_tenants() as session:
        await node_service.write_nodes(session, [Node("node-1", 8, cpus_free, None, 0, 0, 2**34, now())])


async def estimate(admin: Any, **query: int) -> dict[str, Any]:
    answer = await admin.get("/v1/capacity/estimate", params={"model": MODEL, **query})
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def test_nodes_and_versions_are_shown_with_what_was_measured_and_what_more_fits(serving: Any) -> None:
    shown = (await serving.get("/v1/capacity")).json()
    assert [(node["id"], node["cpus"], node["cpus_free"]) for node in shown["nodes"]] == [("node-1", 8, 4)]
    (version,) = shown["versions"]
    assert (version["model"], version["state"], version["cpus"]) == (MODEL, "serving", 2)
    assert (version["output_tokens_per_second"], version["used_percent"]) == (100, 0)
    assert version["output_tokens_per_second_left"] == 100
    assert version["replicas_that_fit"] == {"node-1": 2}


async def test_a_node_that_is_gone_is_not_shown(serving: Any, database: Any) -> None:
    async with database("pool").across_tenants() as session:
        await node_service.write_nodes(session, [Node("node-2", 2, 2, None, 0, 0, 2**34, now())])
    assert [node["id"] for node in (await serving.get("/v1/capacity")).json()["nodes"]] == ["node-2"]


async def test_a_small_bank_fits_into_what_is_left_and_a_large_one_needs_more_engines(serving: Any) -> None:
    small = await estimate(serving, output_tokens_per_second=40, headroom_percent=20)
    assert (small["replicas_taken_hundredths"], small["replicas_wanted"], small["fits"]) == (50, 0, True)
    large = await estimate(serving, output_tokens_per_second=240, headroom_percent=20)
    assert (large["replicas_taken_hundredths"], large["replicas_wanted"], large["fits"]) == (300, 2, True)
    too_large = await estimate(serving, output_tokens_per_second=400, headroom_percent=20)
    assert (too_large["replicas_wanted"], too_large["replicas_that_fit"], too_large["fits"]) == (
        4,
        {"node-1": 2},
        False,
    )


async def test_prompts_take_of_an_engine_as_answers_do(serving: Any) -> None:
    both = await estimate(serving, output_tokens_per_second=50, input_tokens_per_second=500, headroom_percent=0)
    assert both["replicas_taken_hundredths"] == 100


async def test_nothing_is_said_of_a_model_that_was_never_measured(admin: Any, database: Any) -> None:
    pool = LifeWriter(database)
    await pool.declare()
    await pool.move("1", VersionState.TESTING)
    refused = await admin.get("/v1/capacity/estimate", params={"model": MODEL, "output_tokens_per_second": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_measured")
    (version,) = (await admin.get("/v1/capacity")).json()["versions"]
    assert (version["output_tokens_per_second"], version["used_percent"]) == (None, None)
