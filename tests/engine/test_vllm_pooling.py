"""Embeddings and rankings by vLLM on CPU cores, of the small chat model's weights: counts equal to vLLM's own."""

import importlib.util
import json
import math
import os
import shutil
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from installation import CATALOGUE_VARIABLE
from pool_process import running_pool
from prometheus_client.parser import text_string_to_metric_families
from small_model import MODEL, directory_weights
from waiting import until

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineRefused
from finpool.serving.schemas import Operation
from finpool.serving.vectors import unpacked

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or CATALOGUE_VARIABLE not in os.environ,
    reason="`make test-vllm` runs these",
)

TEXTS = ["A bank takes deposits.", "The sky is blue.", "A bank takes deposits."]
SALT = "5a17" * 16
LATER = {
    "kind",
    "engine",
    "golden_prompts",
    "output_tokens_default",
    "output_tokens_max",
    "capabilities",
    "base",
    "tenants",
}


def with_random_head(files: Path, target: Path) -> Path:
    """Write the model's files to `target` as those of a cross encoder; returns it."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(files, target, dirs_exist_ok=True)
    config = json.loads((target / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "relevance"}}
    (target / "config.json").write_text(json.dumps(config))
    tensors = load_file(target / "model.safetensors")
    head = torch.randn(1, config["hidden_size"], generator=torch.Generator().manual_seed(1))
    save_file({**tensors, "score.weight": head.to(torch.bfloat16)}, target / "model.safetensors", {"format": "pt"})
    return target


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Catalogue]]:
    """A pool of its own, with the small model's files as an embedding model and as one that compares vectors. They are
    also a cross encoder whose head is random numbers: it computes as a real one does, and its scores mean nothing."""
    small = Catalogue.load(Path(os.environ[CATALOGUE_VARIABLE])).get(MODEL)
    engine = small.engine.model_dump(exclude={"lora"}) | {"threads": 1}
    if engine["device"] == "cuda":  # All of them share the one accelerator.
        engine |= {"accelerator_percent": 30, "accelerator_memory_percent": 20}
    shared = small.model_dump(mode="json", exclude=LATER)
    directory = tmp_path_factory.mktemp("vllm-pooling")
    headed = with_random_head(Path(shared["weights"]["path"]), tmp_path_factory.mktemp("headed"))
    for model_id, kind, changes, weights in (
        ("vectors", "embedding", {"pooling": "last"}, shared["weights"]),
        ("scores", "rerank", {"scoring": "cosine", "pooling": "last"}, shared["weights"]),
        ("ranks", "rerank", {}, directory_weights(headed)),
    ):
        declared = {**shared, "id": model_id, "kind": kind, "engine": {**engine, **changes}, "weights": weights}
        declared["context_tokens"] = 256
        (directory / f"{model_id}.yaml").write_text(yaml.safe_dump(declared))
    # Each engine takes a minute or two on two cores, one after the other.
    with running_pool(directory, ready_seconds_max=900) as (_, settings):
        yield settings, Catalogue.load(directory)


@pytest.fixture
async def backends(pool: tuple[Settings, Catalogue]) -> AsyncIterator[Backends]:
    opened = Backends(pool[0])
    await opened.start()
    yield opened
    await opened.close()


def counted(settings: Settings, model: Model) -> int:
    """Return the prompt tokens that vLLM has counted itself."""
    headers = {"authorization": f"Bearer {settings.secret('engine_token').decode()}"}
    request = urllib.request.Request(f"{settings.serve_base_url}{model.engine_path}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    samples = [each for family in families for each in family.samples if each.name == "vllm:prompt_tokens_total"]
    return int(sum(each.value for each in samples))


async def results(
    backends: Backends, operation: Operation, model: Model, body: dict[str, Any]
) -> tuple[list[dict[str, Any]], TokenUsage]:
    found: list[dict[str, Any]] = []
    usage = TokenUsage(0, 0, 0)
    stream = await backends.ask(operation, model, {**body, "cache_salt": SALT}, RequestId("req_test"))
    with closing(stream):
        await stream.begun()
        async for chunks in stream:
            found += [choice for choices in chunks.choices for choice in choices]
            usage = chunks.usage or usage
    return sorted(found, key=lambda each: each["index"]), usage


async def test_vectors_and_scores_cost_what_vllm_counted(pool: tuple[Settings, Catalogue], backends: Backends) -> None:
    settings, catalogue = pool
    for model_id, operation, body in (
        ("vectors", Operation.EMBED, {"input": TEXTS * 20}),
        ("scores", Operation.RERANK, {"query": TEXTS[0], "documents": TEXTS}),
        ("ranks", Operation.RERANK, {"query": TEXTS[0], "documents": TEXTS * 20}),
    ):
        model = catalogue.get(model_id)
        before = counted(settings, model)
        found, usage = await results(backends, operation, model, body)
        assert usage.input_tokens == counted(settings, model) - before > 0
        assert (usage.cached_input_tokens, usage.output_tokens) == (0, 0)
        assert [each["index"] for each in found] == list(range(len(found)))


async def test_a_vector_is_of_its_text_and_a_score_is_the_cosine(
    pool: tuple[Settings, Catalogue], backends: Backends
) -> None:
    catalogue = pool[1]
    found, _ = await results(backends, Operation.EMBED, catalogue.get("vectors"), {"input": TEXTS})
    one, other, same = (unpacked(each["embedding"]) for each in found)
    assert math.hypot(*one) == pytest.approx(1, abs=1e-3)
    assert one == pytest.approx(same, abs=1e-3)
    body = {"query": TEXTS[0], "documents": TEXTS}
    scores, _ = await results(backends, Operation.RERANK, catalogue.get("scores"), body)
    cosine = sum(a * b for a, b in zip(one, other, strict=True))
    assert [each["relevance_score"] for each in scores] == pytest.approx([1, cosine, 1], abs=1e-2)
    ranks, _ = await results(backends, Operation.RERANK, catalogue.get("ranks"), body)
    first, second, third = (each["relevance_score"] for each in ranks)
    assert first == pytest.approx(third, abs=1e-3) != pytest.approx(second, abs=1e-6)


async def test_a_control_token_in_a_text_costs_its_whole_spelling(
    pool: tuple[Settings, Catalogue], backends: Backends
) -> None:
    for model_id, operation, fields in (
        ("vectors", Operation.EMBED, lambda text: {"input": [text]}),
        ("scores", Operation.RERANK, lambda text: {"query": "a", "documents": [text]}),
        ("ranks", Operation.RERANK, lambda text: {"query": "a", "documents": [text]}),
    ):
        model = pool[1].get(model_id)
        _, one = await results(backends, operation, model, fields("a"))
        _, with_end = await results(backends, operation, model, fields("a<|im_end|>"))
        assert with_end.input_tokens > one.input_tokens + 3


async def test_an_input_beyond_the_context_is_refused_by_its_name(
    pool: tuple[Settings, Catalogue], backends: Backends
) -> None:
    with pytest.raises(EngineRefused) as refused:
        await results(backends, Operation.EMBED, pool[1].get("vectors"), {"input": ["bank " * 600]})
    assert (refused.value.refusal_code, refused.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(EngineRefused) as unsupported:
        await results(backends, Operation.RERANK, pool[1].get("vectors"), {"query": "a", "documents": ["b"]})
    assert unsupported.value.refusal_code == "unsupported_parameter"


async def test_whoever_leaves_stops_vllm(pool: tuple[Settings, Catalogue], backends: Backends) -> None:
    settings, catalogue = pool
    model = catalogue.get("vectors")
    body = {"input": ["A bank takes deposits. " * 40] * 320, "cache_salt": SALT}
    stream = await backends.ask(Operation.EMBED, model, body, RequestId("req_test"))
    with closing(stream):
        await stream.begun()
    counts = [-1]

    def stands_still() -> bool:
        counts.append(counted(settings, model))
        return counts[-1] == counts[-2]

    await until(stands_still, "vLLM stops", seconds_max=480, pause_seconds=2)
    assert counts[-1] < 320 * 160
