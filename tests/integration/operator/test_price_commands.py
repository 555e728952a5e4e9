"""The commands of prices, contracts and the pool's cost, on a door that listens."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from served_app import served

from finpool.apps.operator import create_app
from finpool.cli.main import run
from finpool.kernel.actor import Role
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"


Command = Callable[..., Awaitable[str]]


@pytest.fixture
async def finpool(
    settings: Settings,
    create_bank: Callable[..., Awaitable[dict[str, Any]]],
    token: Callable[..., Awaitable[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Command]:
    """Run a command as billing and return what it printed: `await finpool("price", "list", "small")`."""
    await create_bank("bank-a")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FINPOOL_OPERATOR_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("OPERATOR_TOKEN", await token(Role.OPERATOR_BILLING))

        async def command(*arguments: str) -> str:
            capsys.readouterr()
            exit_code = await asyncio.to_thread(run, arguments)
            shown = capsys.readouterr()
            assert exit_code == 0, shown.err
            return shown.out

        async with served(uvicorn.Config(create_app(settings), log_config=None, ws="none"), [listening]):
            yield command


async def test_prices_are_scheduled_listed_and_ended(finpool: Command) -> None:
    amounts = ("--input", "900", "--cached-input", "300", "--output", "1800")
    shown = await finpool("price", "schedule", MODEL, *amounts, "--tier", "off_peak", "--hours", "22:00-06:00")
    assert "22:00-06:00" in shown
    await finpool("price", "schedule", MODEL, *amounts, "--from", "2099-01-01T00:00:00Z")
    await finpool("price", "schedule", MODEL, *amounts, "--tier", "batch")
    await finpool("price", "end", MODEL, "batch")
    listed = json.loads(await finpool("price", "list", MODEL, "--json"))
    assert listed["declared_in_force"] is True
    assert [(each["tier"], each["in_force"]) for each in listed["data"]] == [
        ("standard", False),
        ("batch", False),
        ("batch", True),
        ("off_peak", True),
    ]
    table = (await finpool("price", "list", MODEL)).splitlines()
    assert table[1].split()[:6] == ["standard", "as", "declared", "1000000", "1000000", "2000000"]
    assert len(table) == 6


async def test_contracts_keep_the_terms_that_are_not_given(finpool: Command) -> None:
    await finpool("contract", "set", "bank-a", "--discount-basis-points", "500", "--pool-weight", "7")
    await finpool("contract", "set", "bank-a", "--discount-basis-points", "900", "--from", "2099-01-01T00:00:00Z")
    await finpool("contract", "set", "bank-a", "--payment", "prepaid", "--commitment-micros", "10")
    contracts = json.loads(await finpool("contract", "list", "bank-a", "--json"))
    terms = ("version", "discount_basis_points", "commitment_micros", "pool_weight", "payment")
    assert [tuple(each[term] for term in terms) for each in contracts] == [
        (2, 900, 0, 7, None),
        (3, 500, 10, 7, "prepaid"),
        (1, 500, 0, 7, None),
    ]


async def test_the_pools_cost_is_shared_as_the_guide_says(
    finpool: Command, create_bank: Callable[..., Awaitable[dict[str, Any]]]
) -> None:
    await create_bank("bank-b")
    for bank, weight in (("bank-a", "600"), ("bank-b", "300")):
        await finpool("contract", "set", bank, "--pool-weight", weight)
    cost = ("--amount-micros", "9000000000", "--equal-share-basis-points", "4000")
    shown = await finpool("pool", "cost", "2099-11", *cost)
    assert shown == await finpool("pool", "fees", "2099-11")
    assert [line.split() for line in shown.splitlines()] == [
        ["2099-11:", "9000000000", "micros", "CNY,", "40", "%", "equally"],
        ["tenant_id", "pool_weight", "fee_micros"],
        ["bank-a", "600", "5400000000"],
        ["bank-b", "300", "3600000000"],
    ]
