"""Declarations of models that somebody else serves: valid ones, refused ones, and the parts that their hash pins."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from remote_model import remote_declaration

from finpool.catalogue.errors import CatalogueInvalid, WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.installation.home.secret_files import remote_key_fault
from finpool.kernel.settings import Settings

ADDRESS = "https://models.example/v1"


def load(directory: Path, declaration: dict[str, Any]) -> Model:
    (directory / "far.yaml").write_text(yaml.safe_dump(declaration))
    return Catalogue.load(directory).get("far")


def test_a_remote_model_says_where_prompts_go_and_that_nobody_checked_its_weights(tmp_path: Path) -> None:
    model = load(tmp_path, remote_declaration(ADDRESS, serving_domain="external"))
    assert (model.serving_domain, model.weights_verified) == ("external", False)
    own = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
    assert (own.serving_domain, own.weights_verified) == ("pool", True)


def test_its_hash_pins_address_name_and_version_as_declared(tmp_path: Path) -> None:
    first = load(tmp_path, remote_declaration(ADDRESS)).weights_sha256
    assert len(first) == 64
    assert load(tmp_path, remote_declaration(ADDRESS, slots=9)).weights_sha256 == first
    later = {**remote_declaration(ADDRESS), "weights": {"source": "remote", "version": "2026-06-01"}}
    changed = [remote_declaration("https://other.example/v1"), remote_declaration(ADDRESS, model="other"), later]
    hashes = {load(tmp_path, each).weights_sha256 for each in changed}
    assert len(hashes | {first}) == 4


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "10.1.2.3", "engine.ascend.svc"])
def test_plain_http_is_taken_within_the_own_network_only_and_only_if_asked_for(tmp_path: Path, host: str) -> None:
    load(tmp_path, remote_declaration(f"http://{host}/v1"))
    for refused in ({"plain_http": False}, {"serving_domain": "external"}):
        with pytest.raises(CatalogueInvalid, match="must be https"):
            load(tmp_path, remote_declaration(f"http://{host}/v1", **refused))


@pytest.mark.parametrize(
    ("engine", "fault"),
    [
        ({"base_url": "http://models.example/v1", "plain_http": True}, "must be https"),
        ({"base_url": "ftp://models.example"}, "http or https address"),
        ({"base_url": "https://user:word@models.example/v1"}, "no user, password"),
        ({"base_url": "https://models.example/v1?key=1"}, "query"),
        ({"base_url": "https://models.example/v1\r\nx-a: 1"}, "http or https address"),
        ({"secret": "engine_token"}, "engine.secret"),
        ({"secret": "remote_../key_pepper"}, "engine.secret"),
        ({"model": "a b"}, "engine.model"),
        ({"extensions": ["priority"]}, "engine.extensions"),
        ({"slots": 0}, "engine.slots"),
    ],
)
def test_a_declaration_that_could_leak_or_mislead_is_refused(
    tmp_path: Path, engine: dict[str, Any], fault: str
) -> None:
    with pytest.raises(CatalogueInvalid, match=fault):
        load(tmp_path, remote_declaration(**{"base_url": ADDRESS, **engine}))


def test_remote_weights_and_an_engine_of_ours_do_not_go_together(tmp_path: Path) -> None:
    ours = {"name": "llamacpp", "slots": 1, "threads": 1}
    with pytest.raises(CatalogueInvalid, match="remote"):
        load(tmp_path, {**remote_declaration(ADDRESS), "engine": ours})


def test_the_pool_neither_serves_a_remote_model_nor_fetches_weights_for_it(tmp_path: Path) -> None:
    model = load(tmp_path, remote_declaration(ADDRESS))
    assert Catalogue.load(tmp_path).on_pool() == ()
    with pytest.raises(WeightsUnavailable, match="not ours to fetch"):
        ensure_weights(model, Settings(home=tmp_path), lambda _: None)


def test_a_key_that_is_missing_open_to_others_or_weak_is_told_before_a_start(tmp_path: Path) -> None:
    key = tmp_path / "remote_far"
    assert "not at" in (remote_key_fault(key) or "")
    key.write_text("0123456789" * 4)
    key.chmod(0o644)
    assert "read by others" in (remote_key_fault(key) or "")
    key.chmod(0o600)
    assert remote_key_fault(key) is None
    key.write_text("short")
    assert "weak" in (remote_key_fault(key) or "")
