"""Operators take a version of a model through its life, step by step, and each step is on record."""

import json
from typing import Any

import asyncpg
import pytest
from model_life import PATH, LifeWriter, listed, proposed, shares, started
from signed_context import sector_rows

from finpool.catalogue.errors import CatalogueInvalid
from finpool.catalogue.model.weights import PathWeights
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Role


async def test_the_first_declared_version_gets_every_request_and_a_later_one_is_proposed(
    admin: Any, pool: LifeWriter
) -> None:
    await pool.declare()
    await pool.declare()
    await pool.declare(version="2")
    assert {name: each["state"] for name, each in (await listed(admin)).items()} == {
        "1": "downloading",
        "2": "proposed",
    }
    await pool.serve("1")
    assert await shares(admin) == {"1": 10_000, "2": 0}


async def test_a_later_version_of_the_package_is_routed_and_the_one_before_serves_until_it_does(
    admin: Any, pool: LifeWriter
) -> None:
    await pool.declare(packaged=True)
    await pool.serve("1")
    await pool.declare(version="2", packaged=True)
    held = (await listed(admin))["2"]
    assert (held["state"], held["share_wished_basis_points"]) == ("downloading", 10_000)
    assert await shares(admin) == {"1": 10_000, "2": 0}
    await pool.serve("2")
    assert await shares(admin) == {"1": 0, "2": 10_000}
    assert {name: each["state"] for name, each in (await listed(admin)).items()} == {"1": "draining", "2": "serving"}


async def test_a_later_version_of_the_package_that_fails_its_test_leaves_the_one_before_in_place(
    admin: Any, pool: LifeWriter
) -> None:
    await pool.declare(packaged=True)
    await pool.serve("1")
    await pool.declare(version="2", packaged=True)
    await pool.fail("2", "no room")
    assert await shares(admin) == {"1": 10_000, "2": 0}
    assert {name: each["state"] for name, each in (await listed(admin)).items()} == {"1": "serving", "2": "proposed"}


async def test_a_later_version_of_the_package_waits_for_a_person_who_has_routed_before(
    serving: Any, pool: LifeWriter
) -> None:
    await serving.post(f"{PATH}/routing", json={"shares": {"1": 10_000}})
    await pool.declare(version="3", packaged=True)
    assert (await listed(serving))["3"]["state"] == "proposed"


@pytest.mark.parametrize(
    "changes", [{"licence": "MIT"}, {"weights": PathWeights(source="path", path="/weights/a.gguf", sha256="a" * 64)}]
)
async def test_a_later_version_of_the_package_with_another_licence_or_weights_is_only_proposed(
    admin: Any, pool: LifeWriter, changes: dict[str, Any]
) -> None:
    await pool.declare(packaged=True)
    await pool.serve("1")
    await pool.declare(version="2", packaged=True, **changes)
    assert (await listed(admin))["2"]["state"] == "proposed"


async def test_a_declared_version_cannot_come_to_mean_something_else(pool: LifeWriter) -> None:
    await pool.declare()
    with pytest.raises(CatalogueInvalid, match="version '1' was declared otherwise before"):
        await pool.declare(context_tokens=1024)


async def test_a_declared_first_version_that_failed_is_tried_again(admin: Any, pool: LifeWriter) -> None:
    await pool.declare()
    await pool.fail("1", "no disk")
    held = (await listed(admin))["1"]
    assert (held["state"], held["fault"]) == ("proposed", "no disk")
    await pool.declare()
    held = (await listed(admin))["1"]
    assert (held["state"], held["fault"]) == ("downloading", None)


async def test_nothing_is_fetched_before_the_licence_was_accepted_by_its_name(serving: Any) -> None:
    await serving.post(f"{PATH}/versions", json=proposed())
    refused = await serving.post(f"{PATH}/versions/2/start", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "licence_not_accepted")
    wrong = await serving.post(f"{PATH}/versions/2/licence", json={"licence": "MIT"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "licence_not_accepted")
    accepted = (await serving.post(f"{PATH}/versions/2/licence", json={"licence": "Apache-2.0"})).json()
    assert accepted["licence_accepted_by"]
    assert (await serving.post(f"{PATH}/versions/2/start", json={})).json()["state"] == "downloading"


async def test_the_same_proposal_is_no_change_and_another_under_its_name_is_refused(serving: Any) -> None:
    first = await serving.post(f"{PATH}/versions", json=proposed())
    again = await serving.post(f"{PATH}/versions", json=proposed())
    assert first.json() == again.json()
    other = await serving.post(f"{PATH}/versions", json=proposed(context_tokens=1024))
    assert (other.status_code, other.json()["error"]["code"]) == (400, "model_version_exists")


@pytest.mark.parametrize(
    "changes",
    [
        {"price": {}},
        {"weights": {"source": "path", "path": "relative.gguf", "sha256": "0" * 64}},
        {"version": "Two"},
        {"output_tokens_max": 10**6},
        {"weights": {"source": "pypi", "package": "x", "version": "1", "file": "x.bin", "sha256": "0" * 64}},
    ],
)
async def test_what_cannot_be_a_version_is_refused(serving: Any, changes: dict[str, Any]) -> None:
    refused = await serving.post(f"{PATH}/versions", json=proposed(**changes))
    assert refused.status_code == 400
    assert list(await listed(serving)) == ["1"]


async def test_a_remote_engine_has_no_versions_here(serving: Any) -> None:
    engine = {
        "name": "openai",
        "base_url": "https://models.example/v1",
        "model": "x",
        "secret": "remote_x",
        "serving_domain": "external",
        "slots": 1,
        "usage": "final",
    }
    refused = await serving.post(
        f"{PATH}/versions", json=proposed(engine=engine, weights={"source": "remote", "version": "1"})
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_version_unfit")


async def test_a_version_that_generates_nothing_is_none_of_a_model_that_chats(serving: Any) -> None:
    without_output = proposed(output_tokens_default=0, output_tokens_max=0)
    refused = await serving.post(f"{PATH}/versions", json=without_output)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_version_unfit")


async def test_every_step_is_on_record(serving: Any, pool: LifeWriter, clean_postgres: EmbeddedPostgres) -> None:
    await started(serving)
    await pool.serve("2")
    await serving.post(f"{PATH}/versions/2/promote", json={})
    await serving.post(f"{PATH}/versions/1/retire", json={})
    rows = await sector_rows(clean_postgres.urls["worker"], "SELECT kind, body FROM audit_outbox ORDER BY outbox_id")
    told = [(row["kind"], json.loads(row["body"])) for row in rows if row["kind"].startswith("model_")]
    assert [(kind, body.get("version"), body.get("to"), "actor" in body) for kind, body in told] == [
        ("model_version.declared", "1", None, False),
        ("model_routing.set", None, None, False),
        ("model_version.moved", "1", "testing", False),
        ("model_version.moved", "1", "serving", False),
        ("model_version.proposed", "2", None, True),
        ("model_version.licence_accepted", "2", None, True),
        ("model_version.moved", "2", "downloading", True),
        ("model_version.moved", "2", "testing", False),
        ("model_version.moved", "2", "serving", False),
        ("model_routing.set", None, None, True),
        ("model_version.moved", "1", "draining", True),
    ]


async def test_the_database_refuses_a_move_that_no_life_has(serving: Any, clean_postgres: EmbeddedPostgres) -> None:
    for role in ("pool", "operator"):
        connection = await asyncpg.connect(clean_postgres.urls[role])
        try:
            with pytest.raises(asyncpg.CheckViolationError, match="does not go from serving to proposed"):
                await connection.execute("UPDATE model_version SET state = 'proposed'")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE model_version SET weights_sha256 = repeat('0', 64)")
        finally:
            await connection.close()


async def test_only_those_who_run_the_pool_change_versions(client: Any, token: Any) -> None:
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_BILLING)}"
    assert (await client.get(f"{PATH}/versions")).status_code == 200
    assert (await client.post(f"{PATH}/versions", json=proposed())).status_code == 403
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_SRE)}"
    assert (await client.post(f"{PATH}/versions", json=proposed())).status_code == 201
