"""The demo as a bank's program sees it: an address, a key, and the names of the models."""

import os

BASE_URL = os.environ["FINPOOL_BASE_URL"]
ADDRESS = BASE_URL.removesuffix("/v1")
KEY = os.environ["BANK_A_KEY"]

CHAT = "smollm2-135m-instruct"
EMBEDS = "multilingual-e5-small"
RANKS = "multilingual-e5-small-rerank"

DIMENSIONS = 384
"""The length of a vector of the embedding model."""

CALM = {"temperature": 0.0, "frequency_penalty": 1.0}
"""Options with which the small model ends a text of a JSON answer; it repeats itself without end at temperature 0."""
