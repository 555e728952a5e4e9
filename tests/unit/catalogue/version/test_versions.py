"""Which version a request goes to, and which routing of several holds."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_declarations import adapter_declaration, vllm_declaration
from pydantic import ValidationError

from finpool.catalogue.model.adapter import Adapter
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.version.schemas import (
    Routing,
    chosen,
    declaration_of,
    declaration_sha256,
    in_force,
    on_version,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = ("1", "2", "3")


def routing(number: int, **split: int) -> Routing:
    return Routing("base", number, {name.lstrip("v"): points for name, points in split.items()}, "a person", AT)


@st.composite
def whole_split(draw: st.DrawFn) -> dict[str, int]:
    first = draw(st.integers(0, 10_000))
    second = draw(st.integers(0, 10_000 - first))
    return dict(zip(NAMES, (first, second, 10_000 - first - second), strict=True))


@given(whole_split(), st.text(min_size=1, max_size=30))
def test_a_request_goes_to_a_version_with_a_share_and_always_the_same(split: dict[str, int], request_id: str) -> None:
    version = chosen(split, request_id)
    assert split[version] > 0
    assert chosen(dict(reversed(split.items())), request_id) == version


def test_requests_are_shared_out_as_it_was_set() -> None:
    counted = Counter(chosen({"1": 9_000, "2": 1_000}, f"req_{number}") for number in range(20_000))
    assert counted["2"] / 20_000 == pytest.approx(0.1, abs=0.01)


@given(
    st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=5),
    st.sets(st.sampled_from(NAMES)),
)
def test_the_latest_routing_whose_versions_all_serve_holds(asked: list[set[str]], serving: set[str]) -> None:
    routings = [
        Routing("base", number, {name: int(name in names) for name in NAMES}, "a person", AT)
        for number, names in enumerate(asked, 1)
    ]
    held = in_force(routings, serving)
    ready = [each for each in routings if each.routed <= serving]
    assert held == (ready[-1] if ready else None)


def test_a_version_without_a_share_need_not_serve() -> None:
    assert in_force([routing(1, v1=10_000), routing(2, v1=0, v2=10_000)], {"2"}) == routing(2, v1=0, v2=10_000)


def test_another_price_or_title_is_the_same_version_and_other_weights_are_not() -> None:
    model = Model.model_validate(vllm_declaration())
    renamed = model.model_copy(update={"title": "Other", "tenants": frozenset({"bank-a"})})
    assert declaration_of(renamed) == declaration_of(model)
    files = {**vllm_declaration()["weights"]["files"], "config.json": "9" * 64}
    weights = {**vllm_declaration()["weights"], "files": files}
    changed = Model.model_validate(vllm_declaration(weights=weights))
    assert declaration_sha256(declaration_of(changed)) != declaration_sha256(declaration_of(model))


def test_an_adapter_goes_with_the_version_of_its_base() -> None:
    engine = {**vllm_declaration()["engine"], "lora": {"slots": 2}}
    base = Model.model_validate(vllm_declaration(engine=engine))
    adapter = Adapter.model_validate(adapter_declaration()).on(base)
    moved = on_version(adapter, base.model_copy(update={"version": "2", "context_tokens": 4096}))
    assert (moved.engine_key, moved.context_tokens) == ("base_2", 4096)
    assert (moved.id, moved.weights_sha256, moved.licence) == (adapter.id, adapter.weights_sha256, "MIT")


@pytest.mark.parametrize("name", ["", "Two", "a/b", "a_b", "-1", "x" * 33])
def test_a_version_has_a_name_that_needs_no_escaping(name: str) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate(vllm_declaration(version=name))
