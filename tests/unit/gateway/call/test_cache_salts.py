"""The salts that divide an engine's prefix cache between tenants."""

from hypothesis import given
from hypothesis import strategies as st
from model_declarations import adapter_declaration, vllm_declaration

from finpool.catalogue.model.adapter import Adapter
from finpool.catalogue.model.schemas import Model
from finpool.gateway.call.cache_salts import CacheSalts
from finpool.kernel.ids import TenantId

BASE = Model.model_validate(
    vllm_declaration(engine={**vllm_declaration()["engine"], "lora": {"slots": 1, "rank_max": 8}})
)
TUNED = Adapter.model_validate(adapter_declaration()).on(BASE)
SLUGS = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@given(st.lists(SLUGS, min_size=2, max_size=2, unique=True))
def test_no_two_tenants_and_no_two_adapters_share_a_salt(tenants: list[str]) -> None:
    salts = CacheSalts(b"s" * 32)
    made = [salts.of(TenantId(tenant), model) for tenant in tenants for model in (BASE, TUNED)]
    assert len(set(made)) == 4
    assert all(len(salt) == 64 and set(salt) <= set("0123456789abcdef") for salt in made)


def test_a_tenants_salt_is_the_same_in_every_replica_and_nobody_elses_to_make() -> None:
    tenant = TenantId("bank-a")
    assert CacheSalts(b"s" * 32).of(tenant, BASE) == CacheSalts(b"s" * 32).of(tenant, BASE)
    assert CacheSalts(b"s" * 32).of(tenant, BASE) != CacheSalts(b"t" * 32).of(tenant, BASE)
