"""LoRA adapters made of random numbers: of no use to anybody, but each answers in a way of its own."""

import json
from pathlib import Path
from typing import Any

from small_model import directory_weights

RANK = 8
_ALPHA = 64
_MODULES = {"q_proj": "num_attention_heads", "v_proj": "num_key_value_heads"}


def random_adapter(base: Path, target: Path, seed: int) -> dict[str, Any]:
    """Write an adapter for the model in `base` and return the declaration of its weights."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    numbers = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, heads in _MODULES.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            shapes = {"lora_A": (RANK, config["hidden_size"]), "lora_B": (config[heads] * head, RANK)}
            for part, shape in shapes.items():
                tensors[f"{name}.{part}.weight"] = torch.randn(shape, generator=numbers) * 0.05
    target.mkdir(parents=True)
    save_file(tensors, target / "adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": _ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(_MODULES),
    }
    (target / "adapter_config.json").write_text(json.dumps(described))
    return directory_weights(target)
