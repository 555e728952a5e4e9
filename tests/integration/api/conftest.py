"""Every door behind a port, over one database with a bank that has used, paid and disputed."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from aiohttp import web
from billing_world import BANK, LAST_MONTH, OPERATOR, World
from model_declarations import PRICE
from model_life import PATH, LifeWriter, proposed, started
from observed_feed import ObservedFeed
from pooling_models import CHAT, EMBEDDING, RERANK, pooling_declaration
from scripted_engine import ScriptedEngine
from scripted_pooling import ScriptedPooling
from served_bank import ServedBank
from served_doors import ServedDoor, platform_doors

from finpool.catalogue.model.service import default_directory
from finpool.catalogue.price import service as prices
from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.kernel.settings import Settings
from finpool.metering.spool.schemas import Outcome
from finpool.tenancy.schemas import TenantChange
from finpool.tenancy.service import change_tenant

OTHER_BANK = TenantId("bank-b")


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedEngine]:
    """An engine for every kind of model."""
    scripted, pooling = ScriptedEngine(counts=True), ScriptedPooling()
    app = web.Application()
    app.router.add_post("/engines/{model}/{version}/v1/chat/completions", scripted.chat)
    app.router.add_post("/engines/{model}/{version}/v1/completions", scripted.complete)
    app.router.add_post("/engines/{model}/{version}/tokenize", scripted.tokenize)
    app.router.add_post("/{path:.*}", pooling.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A model of each kind."""
    directory = tmp_path / "catalogue"
    directory.mkdir()
    (directory / "chat.yaml").write_text((default_directory() / f"{CHAT}.yaml").read_text())
    price = {**PRICE, "cached_input_micros_per_million_tokens": 1_000_000}
    for name, kind in ((EMBEDDING, "embedding"), (RERANK, "rerank")):
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(pooling_declaration(name, kind, price=price)))
    return directory


@pytest.fixture
async def world(database: Callable[[str], Database], settings: Settings, tmp_path: Path) -> World:
    """A bank with invoices, a credit note and usage that was estimated, and a bank that pays in advance."""
    world = World(database, settings.database_url("owner"), tmp_path / "spool-world", ReplicaId("world"))
    await world.add_bank()
    await world.add_bank(OTHER_BANK, "Bank B")
    async with database("operator").across_tenants() as session:
        await prices.register(session, [world.price])
        await change_tenant(session, OPERATOR, BANK, TenantChange(models=["*"]), [])
    await world.bill_everything()
    await world.serve([(1_000, 0, 1_000)], tenant_id=OTHER_BANK)
    await world.sequence()
    return world


@pytest.fixture
async def doors(
    settings: Settings,
    catalogue: Path,
    engine: Any,
    engine_port: int,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    database: Callable[[str], Database],
    world: World,
) -> AsyncIterator[dict[str, ServedDoor]]:
    """All doors, by the names of their documents, with the credential of the caller who may do the most."""
    changed = {"serve_url": f"http://127.0.0.1:{engine_port}", "catalogue_dir": catalogue, "lease_idle_seconds": 0.2}
    # No worker runs here, so events wait for as long as the requests take.
    settings = settings.model_copy(update={**changed, "audit_waiting_seconds_max": 86_400})
    monkeypatch.setattr("finpool.apps.inference.ChangeFeed", ObservedFeed)
    async with database("operator").across_tenants() as session:
        new = NewKey(project_id="credit", name="owner", role="owner")
        _, secret = await create_key(session, OPERATOR, BANK, new, pepper=settings.secret("key_pepper"))
    bank = ServedBank(settings, engine, operator=database("operator"), worker=database("worker"), door_port=free_port)
    async with bank.open_door(), platform_doors(settings, database("owner")) as platform:
        own = ServedDoor(bank.url, secret)
        yield {"inference": own, "tenant": own, **platform}


@pytest.fixture
async def ids(
    doors: dict[str, ServedDoor], database: Callable[[str], Database], world: World
) -> dict[str, list[str] | list[int]]:
    """What exists, by the names that `schemathesis.toml` gives: disputes, versions of a model, and so on."""
    async with client_of(doors["operator"]) as operator, client_of(doors["tenant"]) as bank:
        invoices = (await operator.get(f"/v1/tenants/{BANK}/invoices")).json()["data"]
        issued = [each["id"] for each in invoices if each["kind"] == "invoice"]
        disputes = []
        for invoice in issued:
            about = {"invoice_id": invoice, "line_no": 1, "reason": "another project"}
            disputes.append((await bank.post("/v1/organization/disputes", json=about)).json()["id"])
        crashed = await world.serve([(1_000, 0, 1_000)] * 3, outcome=Outcome.CRASHED)
        prepaid = {"payment": "prepaid", "discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0}
        answer = await operator.post(f"/v1/tenants/{OTHER_BANK}/contracts", json=prepaid)
        assert answer.status_code == 201, answer.text
        pool = LifeWriter(database)
        await pool.declare()
        await pool.serve("1")
        await started(operator, "2")
        await pool.serve("2")
        assert (await operator.post(f"{PATH}/versions/2/promote")).status_code == 201
        await operator.post(f"{PATH}/versions", json=proposed(version="3"))
    return {
        "tenants": [str(BANK), str(OTHER_BANK)],
        "projects": ["credit", "treasury"],
        "models": [CHAT, EMBEDDING, RERANK],
        "chat_models": [CHAT],
        "embedding_models": [EMBEDDING],
        "rerank_models": [RERANK],
        "versions": ["1", "2", "3"],
        "invoices": issued,
        "disputes": disputes,
        "requests": crashed,
        "months": [f"{LAST_MONTH:%Y-%m}"],
        "licences": ["Apache-2.0"],
        "amounts": [10_000, 20_000],
    }


def client_of(door: ServedDoor) -> httpx2.AsyncClient:
    """Return a client of a door."""
    return httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {door.credential}"})
