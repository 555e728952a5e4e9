"""A model's life under load: a new version is tested, gets a part of the requests, then all, and nobody notices."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import openai
import pytest
import yaml
from installation import Installation, Installations
from waiting import until_now

from finpool.catalogue.model.service import default_directory

MODEL = "smollm2-135m-instruct"
STREAMS = 32
QUESTION: list[Any] = [{"role": "user", "content": "What is a bank? Answer in one sentence."}]
SECONDS_MAX = 900
HEARD_SECONDS = 5
SHALLOW_ANSWER = "("
"""The beginning of the shallow model's answer; it is deterministic and means nothing."""


@pytest.fixture(scope="module")
def installed(
    installations: Installations, shallow_weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """A platform whose one model, a shallow one, generates 32 answers at once."""
    made = installations.new()
    directory = tmp_path_factory.mktemp("catalogue")
    (directory / "model.yaml").write_text(yaml.safe_dump(declared() | {"weights": shallow_weights}))
    made.environment.update(
        FINPOOL_CATALOGUE_DIR=str(directory),
        FINPOOL_SNAPSHOT_AGE_MAX_SECONDS=str(HEARD_SECONDS),
        # A version drains for as long as a request may wait, and all that time the load takes both cores.
        FINPOOL_QUEUE_TIMEOUT_SECONDS="8",
        # Other tests may want both cores at the same time: a pause within an answer is no failure here.
        FINPOOL_ENGINE_READ_TIMEOUT_SECONDS="300",
    )
    started = made.finpool("up")
    assert started.returncode == 0, f"{started.stdout}{started.stderr}{made.logs()}"
    free = ("--requests-per-minute", "none", "--tokens-per-minute", "none", "--concurrency", "none")
    for bank in ("bank-a", "bank-b"):
        made.json("limits", "set", bank, *free)
    return made


def declared() -> dict[str, Any]:
    model: dict[str, Any] = yaml.safe_load((default_directory() / f"{MODEL}.yaml").read_text())
    model["engine"] = {"name": "llamacpp", "slots": STREAMS, "threads": 2}
    model |= {"version": "1", "context_tokens": 384, "output_tokens_default": 32, "output_tokens_max": 256}
    return model


@pytest.fixture(scope="module")
def other_weights(shallow_weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same weights with something behind their end: they answer alike, and their hash is another one."""
    copy = tmp_path_factory.mktemp("weights") / "other.gguf"
    copy.write_bytes(Path(shallow_weights["path"]).read_bytes() + bytes(32))
    return {"source": "path", "path": str(copy), "sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}


def get(url: str, token: str) -> Any:
    with urlopen(Request(url, headers={"authorization": f"Bearer {token}"}), timeout=30) as answer:
        return json.load(answer)


def versions(installed: Installation) -> dict[str, dict[str, Any]]:
    env = installed.demo_env
    listed = get(f"{env['FINPOOL_OPERATOR_URL']}/v1/models/{MODEL}/versions", env["OPERATOR_TOKEN"])["data"]
    return {each["version"]: each for each in listed}


def wait_for(what: str, holds: Callable[[], bool], installed: Installation, load: "Load | None" = None) -> None:
    def holds_without_failure() -> bool:
        assert load is None or not load.failures, f"{load.failures[:3]}{installed.logs()}"
        return holds()

    try:
        until_now(holds_without_failure, what, seconds_max=SECONDS_MAX, pause_seconds=0.3)
    except AssertionError as error:
        error.add_note(installed.logs())
        raise


class Load:
    """Clients that each ask again as soon as their answer has ended."""

    def __init__(self, env: dict[str, str], clients: int = STREAMS) -> None:
        self._env = env
        self._stop = threading.Event()
        self.open = 0
        self.answers = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        key = self._env[f"BANK_{'AB'[number % 2]}_KEY"]
        with openai.OpenAI(base_url=self._env["FINPOOL_BASE_URL"], api_key=key, max_retries=0, timeout=300) as client:
            while not self._stop.is_set():
                try:
                    self._answer(client)
                except Exception as error:  # A client has seen it in any case.
                    self.failures.append(f"{type(error).__name__}: {error}")
                    return

    def _answer(self, client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, stream=True)
        finish = None
        with self._lock:
            self.open += 1
        try:
            for chunk in stream:
                if chunk.choices:
                    finish = chunk.choices[0].finish_reason or finish
        finally:
            with self._lock:
                self.open -= 1
        assert finish in ("stop", "length")
        with self._lock:
            self.answers += 1


def engine_requests(installed: Installation, version: str) -> int:
    """Return the requests that a version's engine has counted by itself."""
    token = (installed.home / "secrets" / "engine_token").read_text().strip()
    url = f"http://127.0.0.1:{installed.port + 10}/engines/{MODEL}/{version}/usage"
    counted: int = get(url, token)["requests"]
    return counted


def test_a_version_is_fetched_only_after_its_licence_is_accepted(
    installed: Installation, other_weights: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "version.yaml"
    fields = ("engine", "context_tokens", "output_tokens_default", "output_tokens_max", "licence", "capabilities")
    golden = [{"prompt": "What is a bank?", "answer_has_one_of": [SHALLOW_ANSWER]}]
    new = {name: declared()[name] for name in fields} | {"weights": other_weights, "golden_prompts": golden}
    file.write_text(yaml.safe_dump({**new, "version": "2"}))
    assert installed.json("model", "propose", MODEL, str(file))["state"] == "proposed"
    refused = installed.json("model", "start", MODEL, "2", exit_code=1)
    assert refused["error"]["code"] == "licence_not_accepted"
    refused = installed.json("model", "accept-licence", MODEL, "2", "MIT", exit_code=1)
    assert refused["error"]["code"] == "licence_not_accepted"
    assert installed.json("model", "accept-licence", MODEL, "2", "Apache-2.0")["licence_accepted_by"]
    installed.json("model", "start", MODEL, "2")
    wait_for("the test's end", lambda: bool(versions(installed)["2"]["measurements"]), installed)
    tested = versions(installed)["2"]
    assert (tested["state"], tested["share_basis_points"]) == ("testing", 0)
    measured = tested["measurements"]
    assert measured["golden_prompts"] == 1
    assert measured["streams"] == STREAMS
    assert measured["output_tokens_per_second_full"] > 0
    assert measured["memory_bytes"] > 100_000_000
    assert engine_requests(installed, "2") == 0, "a test is nobody's usage"


def test_a_swap_under_32_open_streams_fails_no_request_and_no_token_is_lost(installed: Installation) -> None:
    with Load(installed.demo_env) as load:
        wait_for("the load", lambda: load.open >= STREAMS // 2 and load.answers >= STREAMS, installed, load)
        installed.json("model", "route", MODEL, "1=7500", "2=2500")
        wait_for("the canary", lambda: engine_requests(installed, "2") >= STREAMS // 4, installed, load)
        asked_before, answers_before = engine_requests(installed, "1"), load.answers
        assert asked_before > 0
        assert load.open > 0
        installed.json("model", "promote", MODEL, "2")
        installed.json("model", "retire", MODEL, "1")
        wait_for("the end of the old", lambda: versions(installed)["1"]["state"] == "retired", installed, load)
        wait_for("answers of the new", lambda: load.answers > answers_before + STREAMS, installed, load)
    assert load.failures == []
    assert load.answers > 2 * STREAMS
    by_version = {name: each["share_basis_points"] for name, each in versions(installed).items()}
    assert by_version == {"1": 0, "2": 10_000}
    reconcile = ("ledger", "reconcile", "--engines")
    wait_for("the last record", lambda: installed.finpool(*reconcile).returncode == 0, installed)
    assert installed.json(*reconcile)["differences"] == []


def test_one_command_goes_back_even_to_a_version_that_was_retired(installed: Installation) -> None:
    installed.json("model", "rollback", MODEL)
    # A client of each bank: more of them would only slow down the start of the old version's engine.
    with Load(installed.demo_env, clients=2) as load:
        shares = {"1": 7500, "2": 2500}
        wait_for(
            "the way back",
            lambda: {name: each["share_basis_points"] for name, each in versions(installed).items()} == shares,
            installed,
        )
        wait_for("the old version's answers", lambda: engine_requests(installed, "1") > 0, installed)
    assert load.failures == []


def test_a_restart_brings_back_what_was_routed(installed: Installation) -> None:
    assert installed.finpool("down").returncode == 0
    started = installed.finpool("up")
    assert started.returncode == 0, f"{started.stdout}{started.stderr}{installed.logs()}"
    assert {name: each["share_basis_points"] for name, each in versions(installed).items()} == {"1": 7500, "2": 2500}
