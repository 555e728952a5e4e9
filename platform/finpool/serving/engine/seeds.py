"""The seeds of engines: a request may give any of 64 bits, and an engine knows fewer."""

import hashlib

SEEDS = 2**32 - 16
"""The seeds that every engine takes. llama.cpp reads 32 bits, where 2**32 - 1 stands for a random one, and each further
choice adds 1 to the request's. vLLM reads -1 as random.
"""


def folded(seed: int, limit: int) -> int:
    """Return the seed itself if it is at least 0 and below `limit`, and a hash of it below `limit` otherwise.

    So each seed gives the same numbers each time, and no seed becomes an engine's sign for random ones. Two seeds
    meet only by chance.
    """
    if 0 <= seed < limit:
        return seed
    digest = hashlib.blake2b(seed.to_bytes(8, "big", signed=True), digest_size=16).digest()
    return int.from_bytes(digest, "big") % limit
