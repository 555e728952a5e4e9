"""A neutral adapter, all zeros, for requests to a base model on CPU cores.

vLLM marks tokens without an adapter with -1. Its accelerator kernels skip them; its CPU operations apply the last
adapter to them (vllm-project/vllm#48421, open in 0.29). So a base model's request in one batch with an adapter's would
get that adapter's answer. With the neutral adapter no token carries that mark.
"""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

NEUTRAL = "neutral"
"""Its name within the engine; all other names are SHA-256 digests."""

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


def write_neutral(adapter: Path, target: Path) -> None:
    """Write an adapter with the shapes of the one in `adapter` and with zeros as weights."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / _CONFIG, target / _CONFIG)
    zeros = {name: tensor.zero_() for name, tensor in load_file(adapter / _WEIGHTS).items()}
    save_file(zeros, target / _WEIGHTS)
