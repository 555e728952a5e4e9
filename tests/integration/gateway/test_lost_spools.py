"""A spool that is lost with its volume: its leases stay held until an operator decides."""

import sqlite3
from typing import Literal

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank
from waiting import until

from finpool.kernel.actor import Actor, Audience, Role
from finpool.metering.errors import SpoolAlive
from finpool.metering.lost_spool.schemas import LostSpoolBody, LostSpoolView
from finpool.metering.lost_spool.service import settle_lost_spool
from finpool.metering.spool.file import FILE_NAME

MODEL = "smollm2-135m-instruct"
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)


async def chat(client: AsyncOpenAI) -> ChatCompletion:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
    return await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=5)


async def test_the_lease_of_a_lost_spool_stays_held_for_an_operator_to_decide(bank: ServedBank) -> None:
    bank.engine.pause_seconds = 0.05
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
        async with bank.stopped():
            held = (await bank.account("bank-a")).pending_micros
            assert held > 0
            (bank.settings.spool_path / FILE_NAME).unlink()
        await chat(client)
    await until_the_new_lease_is_back(bank, held)
    assert (await bank.account("bank-a")).posted_micros == 20
    async with bank.stopped():
        await bank.record()
    assert (await bank.account("bank-a")).pending_micros == held, "no replica gives back what another spool held"


async def lose_spool(bank: ServedBank, key: str) -> tuple[str, int]:
    """Serve once, lose the spool with a lease open, serve again with a new one; returns the lost spool and its hold."""
    async with bank.client(key) as client:
        await chat(client)
        async with bank.stopped():
            connection = sqlite3.connect(bank.settings.spool_path / FILE_NAME)
            (lost,) = connection.execute("SELECT spool_id FROM meta").fetchone()
            connection.close()
            held = (await bank.account("bank-a")).pending_micros
            (bank.settings.spool_path / FILE_NAME).unlink()
        await chat(client)
    await bank.record()
    return lost, held


async def decide(bank: ServedBank, lost: str, decision: Literal["charged", "released"]) -> LostSpoolView:
    body = LostSpoolBody(replica_id="local", spool_id=lost, decision=decision, reason="the volume is gone")
    async with bank.operator.across_tenants() as session:
        return await settle_lost_spool(session, OPERATOR, body, "CNY")


async def until_the_new_lease_is_back(bank: ServedBank, held: int) -> None:
    async def is_back() -> bool:
        await bank.record()
        return (await bank.account("bank-a")).pending_micros == held

    await until(is_back, "the new lease is back")


async def test_the_leases_of_a_lost_spool_are_charged_in_full_when_an_operator_decides_so(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    lost, held = await lose_spool(bank, key)
    await until_the_new_lease_is_back(bank, held)
    answer = await decide(bank, lost, "charged")
    assert [each.charged_micros for each in answer.charged] == [held]
    account = await bank.account("bank-a")
    assert (account.posted_micros, account.pending_micros) == (20 + held, 0)
    assert (await decide(bank, lost, "charged")).leases_closed == 0
    assert (await bank.account("bank-a")).posted_micros == 20 + held


async def test_the_leases_of_a_lost_spool_go_back_when_an_operator_releases_them(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    lost, held = await lose_spool(bank, key)
    await until_the_new_lease_is_back(bank, held)
    answer = await decide(bank, lost, "released")
    assert answer.leases_closed == 1
    account = await bank.account("bank-a")
    assert (account.posted_micros, account.pending_micros) == (20, 0)


async def test_the_leases_of_a_spool_that_is_served_with_cannot_be_given_up(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
    await bank.record()
    connection = sqlite3.connect(bank.settings.spool_path / FILE_NAME)
    (alive,) = connection.execute("SELECT spool_id FROM meta").fetchone()
    connection.close()
    with pytest.raises(SpoolAlive):
        await decide(bank, alive, "charged")
