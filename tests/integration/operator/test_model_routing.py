"""Which versions a model's requests go to: canaries, promotion, the way back, and the end of a version."""

from typing import Any

import pytest
from model_life import PATH, LifeWriter, listed, proposed, shares, started

from finpool.catalogue.version.schemas import VersionState


async def test_requests_are_routed_only_when_every_version_with_a_share_serves(serving: Any, pool: LifeWriter) -> None:
    unknown = await serving.post(f"{PATH}/routing", json={"shares": {"9": 10_000}})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_version_not_found")
    await serving.post(f"{PATH}/versions", json=proposed())
    early = await serving.post(f"{PATH}/routing", json={"shares": {"1": 9_000, "2": 1_000}})
    assert (early.status_code, early.json()["error"]["code"]) == (400, "model_version_state")
    await started(serving)
    assert (await serving.post(f"{PATH}/routing", json={"shares": {"1": 9_000, "2": 1_000}})).status_code == 201
    assert await shares(serving) == {"1": 10_000, "2": 0}
    assert (await listed(serving))["2"]["share_wished_basis_points"] == 1_000
    await pool.serve("2")
    assert await shares(serving) == {"1": 9_000, "2": 1_000}


@pytest.mark.parametrize("wrong", [{"1": 9_999}, {"1": 10_001}, {"1": -1, "2": 10_001}, {}])
async def test_shares_are_everything_together(serving: Any, wrong: dict[str, int]) -> None:
    assert (await serving.post(f"{PATH}/routing", json={"shares": wrong})).status_code == 400
    assert await shares(serving) == {"1": 10_000}


async def test_promotion_keeps_the_earlier_version_ready_and_rollback_goes_there_and_back(
    serving: Any, pool: LifeWriter
) -> None:
    none = await serving.post(f"{PATH}/routing/rollback", json={})
    assert (none.status_code, none.json()["error"]["code"]) == (400, "model_version_state")
    await started(serving)
    await pool.serve("2")
    promoted = (await serving.post(f"{PATH}/versions/2/promote", json={})).json()
    assert promoted["shares"] == {"1": 0, "2": 10_000}
    assert (await listed(serving))["1"]["state"] == "serving"
    await serving.post(f"{PATH}/routing/rollback", json={})
    assert await shares(serving) == {"1": 10_000, "2": 0}
    await serving.post(f"{PATH}/routing/rollback", json={})
    assert await shares(serving) == {"1": 0, "2": 10_000}


async def test_a_version_is_retired_only_when_no_request_goes_there(serving: Any, pool: LifeWriter) -> None:
    refused = await serving.post(f"{PATH}/versions/1/retire", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_version_state")
    await started(serving)
    await serving.post(f"{PATH}/versions/2/promote", json={})
    refused = await serving.post(f"{PATH}/versions/1/retire", json={})
    assert refused.status_code == 400, "the promotion waits for version 2, so requests still go to version 1"
    await pool.serve("2")
    assert (await serving.post(f"{PATH}/versions/1/retire", json={})).json()["state"] == "draining"
    busy = await serving.post(f"{PATH}/versions/1/start", json={})
    assert (busy.status_code, busy.json()["error"]["code"]) == (400, "model_version_state")
    await pool.move("1", VersionState.RETIRED)
    await serving.post(f"{PATH}/routing/rollback", json={})
    held = await listed(serving)
    assert held["1"]["state"] == "downloading", "the way back starts what was retired"
    assert await shares(serving) == {"1": 0, "2": 10_000}, "and until then nothing changes"
    await pool.serve("1")
    assert await shares(serving) == {"1": 10_000, "2": 0}


async def test_routing_to_a_version_that_is_being_drained_keeps_it(serving: Any, pool: LifeWriter) -> None:
    await started(serving)
    await pool.serve("2")
    await serving.post(f"{PATH}/versions/2/promote", json={})
    await serving.post(f"{PATH}/versions/1/retire", json={})
    await serving.post(f"{PATH}/routing/rollback", json={})
    assert (await listed(serving))["1"]["state"] == "serving"
    assert await shares(serving) == {"1": 10_000, "2": 0}
