"""The seed that engines get."""

from hashlib import sha256

ENGINE_SEEDS = 2**32 - 16
"""llama.cpp reads 32 bits, where the last number means a random seed, and each further choice adds 1. vLLM reads -1 as
random.
"""


def engine_seed(seed: int) -> int:
    """Return the same number from 0 for the same seed, below `ENGINE_SEEDS`; smaller seeds stay as they are."""
    if 0 <= seed < ENGINE_SEEDS:
        return seed
    return int.from_bytes(sha256(str(seed).encode()).digest()[:8]) % ENGINE_SEEDS
