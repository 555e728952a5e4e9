"""Models and adapters that are for some tenants only, at the banks' door."""

from collections.abc import Callable
from pathlib import Path

import openai
import pytest
import yaml
from model_declarations import CPU_ENGINE, PRICE, adapter_declaration, vllm_declaration
from openai.types.chat import ChatCompletionMessageParam
from served_bank import ServedBank

from finpool.billing.contract.service import own_prices
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
MODEL = "smollm2-135m-instruct"
ADAPTER = "of-bank-b"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a door whose catalogue has a shared model and an adapter of bank B."""
    directory = tmp_path / "catalogue"
    directory.mkdir()
    engine = {**CPU_ENGINE, "lora": {"slots": 1, "rank_max": 8}}
    for each in (
        vllm_declaration(id=MODEL, engine=engine, price=PRICE),
        adapter_declaration(id=ADAPTER, base=MODEL, tenants=["bank-b"]),
    ):
        (directory / f"{each['id']}.yaml").write_text(yaml.safe_dump(each))
    return settings.model_copy(update={"catalogue_dir": directory})


@pytest.fixture
async def keys(bank: ServedBank) -> dict[str, str]:
    """Keys of two banks whose contracts allow every model that is shared or their own."""
    return {name: await bank.add_tenant(name) for name in ("bank-a", "bank-b")}


async def test_a_model_of_other_tenants_does_not_exist_for_a_bank(bank: ServedBank, keys: dict[str, str]) -> None:
    async with bank.client(keys["bank-a"]) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model=ADAPTER, messages=HELLO, max_tokens=1)
        with pytest.raises(openai.NotFoundError) as never_declared:
            await client.chat.completions.create(model="of-nobody", messages=HELLO, max_tokens=1)
        assert unknown.value.code == never_declared.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(ADAPTER)
    assert bank.engine.bodies == []


async def test_a_price_of_other_tenants_models_is_not_shown(
    bank: ServedBank, keys: dict[str, str], database: Callable[[str], Database]
) -> None:
    assert bank.settings.catalogue_dir is not None
    models = Catalogue.load(bank.settings.catalogue_dir).all()
    async with database("operator").across_tenants() as session:
        of_a = await own_prices(session, TenantId("bank-a"), models)
        of_b = await own_prices(session, TenantId("bank-b"), models)
    assert [each.model for each in of_a.data] == [MODEL]
    assert {each.model for each in of_b.data} == {MODEL, ADAPTER}
