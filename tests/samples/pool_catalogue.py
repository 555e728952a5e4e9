"""The catalogue of the tests' pool: one real model, and shallow ones for tests that hold for any weights.

All may sleep but one, so a file of tests starts only the engines that it asks. The one that never sleeps is there to be
killed: Serve has to bring its replica back without a request.
"""

from pathlib import Path
from typing import Any

import yaml
from pooling_models import COSINE, EMBEDDING, RERANK, pooling_declaration

from finpool.catalogue.model.service import default_directory

REAL = "smollm2-135m-instruct"
REFUSES, QUEUES, WORKS = "refuses", "queues", "works"
VERSION = "1"
SLOTS = 2
LONG_TOKENS = 380
_AWAKE_SECONDS = 3600
"""How long an engine stays awake whose sleep is no subject."""

_SHORT = {"context_tokens": 512, "output_tokens_default": 16, "output_tokens_max": 400, "golden_prompts": []}
_SHALLOW = {"name": "llamacpp", "slots": SLOTS, "threads": 1, "idle_seconds": 10}
_SLEEPS = {"replicas_min": 0, "idle_seconds": _AWAKE_SECONDS}


def write_pool_catalogue(directory: Path, shallow_weights: dict[str, Any]) -> Path:
    """Write the declarations into a new directory, and return it."""
    directory.mkdir()
    real = yaml.safe_load((default_directory() / f"{REAL}.yaml").read_text()) | {"version": VERSION}
    shallow = {**real, **_SHORT, "weights": shallow_weights}
    declared = [{**real, "engine": {**real["engine"], **_SLEEPS}}]
    for model_id, engine in (
        (REFUSES, {"replicas_min": 0, "cold_start": "refuse"}),
        (QUEUES, {"replicas_min": 0, "replicas_max": 2, "cold_start": "queue"}),
        (WORKS, {"replicas_max": 2, "service_ahead_max": 4 * LONG_TOKENS}),
    ):
        declared.append({**shallow, "id": model_id, "engine": {**_SHALLOW, **engine}})
    for model_id, kind, pooling in (
        (EMBEDDING, "embedding", {"pooling": "mean"}),
        (RERANK, "rerank", {"pooling": "rank"}),
        (COSINE, "rerank", {"pooling": "mean", "scoring": "cosine"}),
    ):
        engine = {**_SHALLOW, **_SLEEPS, **pooling}
        declared.append(pooling_declaration(model_id, kind, engine=engine, weights=shallow_weights))
    for each in declared:
        (directory / f"{each['id']}.yaml").write_text(yaml.safe_dump(each))
    return directory
