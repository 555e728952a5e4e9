"""Model declarations as operators notice them: valid ones, refused ones, and the cost of a request."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.errors import CatalogueInvalid, ModelNotFound
from finpool.catalogue.model.schemas import Price, TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import TokenPrice

DECLARATION: dict[str, Any] = {
    "id": "small",
    "title": "Small",
    "kind": "general",
    "engine": {"name": "llamacpp", "slots": 2, "threads": 1},
    "weights": {"source": "path", "path": "/models/small.gguf", "sha256": "0" * 64},
    "context_tokens": 1024,
    "output_tokens_default": 64,
    "output_tokens_max": 512,
    "licence": "Apache-2.0",
    "capabilities": ["logprobs"],
    "price": {
        "currency": "CNY",
        "input_micros_per_million_tokens": 1_000_000,
        "cached_input_micros_per_million_tokens": 500_000,
        "output_micros_per_million_tokens": 2_000_000,
    },
}


def declare(directory: Path, name: str = "small", **changes: Any) -> Path:
    file = directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**DECLARATION, **changes}))
    return file


def refusal(directory: Path) -> str:
    with pytest.raises(CatalogueInvalid) as refused:
        Catalogue.load(directory)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_the_declarations_that_come_with_the_package_load() -> None:
    model = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
    assert model.licence == "Apache-2.0"
    assert len(model.weights_sha256) == 64


def test_a_model_is_found_by_its_id(tmp_path: Path) -> None:
    declare(tmp_path)
    declare(tmp_path, name="other", id="other.v1")
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.get("other.v1").id == "other.v1"
    assert [model.id for model in catalogue.all()] == ["other.v1", "small"]


def test_an_unknown_model_is_a_404_that_does_not_tell_whether_it_exists(tmp_path: Path) -> None:
    declare(tmp_path)
    with pytest.raises(ModelNotFound) as refused:
        Catalogue.load(tmp_path).get("gpt-9")
    assert refused.value.status == 404
    assert refused.value.body()["error"] == {
        "message": "The model 'gpt-9' does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_all_faults_of_a_file_are_told_at_once_with_their_fields(tmp_path: Path) -> None:
    price = {"currency": "yuan", "input_micros_per_million_tokens": 1.5, "output_micros_per_million_tokens": -1}
    declare(tmp_path, price=price, kind="magic", engine={"name": "llamacpp", "slots": 65, "threads": 1}, extra=1)
    message = refusal(tmp_path)
    assert str(tmp_path / "small.yaml") in message
    for field in (
        "price.currency",
        "price.input_micros_per_million_tokens",
        "price.cached_input_micros_per_million_tokens",
        "price.output_micros_per_million_tokens",
        "kind",
        "engine.slots",
        "extra",
    ):
        assert f"{field}: " in message


def test_a_model_without_a_price_is_refused(tmp_path: Path) -> None:
    declaration = {name: value for name, value in DECLARATION.items() if name != "price"}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(declaration))
    assert "price: Field required" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": "Small"}, "id: "),
        ({"id": "a/b"}, "id: "),
        ({"output_tokens_default": 600}, "output_tokens_default <= output_tokens_max"),
        ({"output_tokens_max": 2048}, "output_tokens_default <= output_tokens_max"),
        ({"licence": "do what you like"}, "licence: "),
        ({"capabilities": ["telepathy"]}, "capabilities"),
        ({"weights": {"source": "path", "path": "small.gguf", "sha256": "0" * 64}}, "absolute path"),
        ({"weights": {"source": "path", "path": "/small.gguf", "sha256": "A" * 64}}, "sha256"),
        ({"weights": {"source": "torrent"}}, "weights"),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    declare(tmp_path, **changes)
    assert fault in refusal(tmp_path)


def test_a_cached_token_cannot_cost_more_than_a_computed_one(tmp_path: Path) -> None:
    declare(tmp_path, price={**DECLARATION["price"], "cached_input_micros_per_million_tokens": 1_000_001})
    assert "cached_input_micros_per_million_tokens is above" in refusal(tmp_path)


def test_an_id_that_is_declared_twice_is_refused(tmp_path: Path) -> None:
    declare(tmp_path)
    declare(tmp_path, name="again")
    assert "already declared in" in refusal(tmp_path)


def test_models_of_two_currencies_are_refused_because_a_budget_has_one(tmp_path: Path) -> None:
    declare(tmp_path)
    declare(tmp_path, name="foreign", id="foreign", price={**DECLARATION["price"], "currency": "USD"})
    assert "one currency, not CNY, USD" in refusal(tmp_path)


def test_a_field_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    file = declare(tmp_path)
    file.write_text(file.read_text() + "title: Another\n")
    assert "'title' is given twice" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_holds_no_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "small.yaml").write_text(content)
    assert "small.yaml" in refusal(tmp_path)


def test_a_directory_without_declarations_is_refused(tmp_path: Path) -> None:
    assert "no model declarations" in refusal(tmp_path)


tokens = st.integers(min_value=0, max_value=10**9)


@given(uncached=tokens, cached=tokens, output=tokens)
def test_cost_is_exact_for_any_number_of_tokens(uncached: int, cached: int, output: int) -> None:
    price = Price(
        currency="CNY",
        input_micros_per_million_tokens=7,
        cached_input_micros_per_million_tokens=3,
        output_micros_per_million_tokens=11,
    )
    usage = TokenUsage(input_tokens=uncached + cached, cached_input_tokens=cached, output_tokens=output)
    assert TokenPrice.of("small", price).cost(usage) == 7 * uncached + 3 * cached + 11 * output


@pytest.mark.parametrize("counts", [(-1, 0, 0), (1, 2, 0), (1, -1, 0), (1, 0, -1)])
def test_usage_that_cannot_be_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="impossible token usage"):
        TokenUsage(*counts)


def test_a_price_version_changes_with_any_amount_and_only_then(tmp_path: Path) -> None:
    declare(tmp_path)
    before = Catalogue.load(tmp_path).get("small").price_version
    assert before.startswith("small@")
    declare(tmp_path, title="Another title")
    assert Catalogue.load(tmp_path).get("small").price_version == before
    declare(tmp_path, price={**DECLARATION["price"], "output_micros_per_million_tokens": 2_000_001})
    assert Catalogue.load(tmp_path).get("small").price_version != before
