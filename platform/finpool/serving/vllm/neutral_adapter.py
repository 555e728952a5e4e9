"""An adapter that changes nothing, for requests to a base model on CPU cores.

vLLM marks tokens without an adapter with -1. Its kernels for accelerators skip these; its operations for CPU cores take
the last adapter for them (vllm-project/vllm#48421, open in 0.29), so that a base model's request in one batch with an
adapter's is answered with that adapter. With an adapter of zeros no token is ever marked so.
"""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

NEUTRAL = "neutral"
"""Its name within the engine; the others' are SHA-256, so it is nobody's."""

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


def write_neutral(adapter: Path, target: Path) -> None:
    """Write an adapter of the shape of the one in `adapter`, whose product with anything is exactly zero."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / _CONFIG, target / _CONFIG)
    zeros = {name: tensor.zero_() for name, tensor in load_file(adapter / _WEIGHTS).items()}
    save_file(zeros, target / _WEIGHTS)
