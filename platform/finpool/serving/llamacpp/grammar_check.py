"""The check that an answer follows its grammar, in the thread of its generation.

llama.cpp goes on without a grammar that has become too complex or has no way on, and only logs that.
"""

from collections import defaultdict

import orjson

from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.guidance import follows

_INCOMPLETE = "\ufffd"
"""The place of a character whose last bytes are missing."""


class GrammarCheck:
    """The texts of one answer's choices, each checked when its choice ends."""

    def __init__(self, grammar: str) -> None:
        self._grammar = grammar
        self._texts: defaultdict[int, str] = defaultdict(str)

    def fault(self, chunk: str) -> EngineRefused | None:
        """Read a chunk of llama.cpp; return an error if it ends a choice that does not follow the grammar."""
        for part in orjson.loads(chunk).get("choices") or []:
            self._texts[part["index"]] += part["delta"].get("content") or ""
            if (reason := part.get("finish_reason")) is None:
                continue
            text, whole = self._texts[part["index"]], reason == "stop"
            if not follows(self._grammar, text if whole else text.rstrip(_INCOMPLETE), whole=whole):
                return EngineRefused(
                    "The model's engine could not hold the answer to its schema: simplify its patterns.",
                    param="response_format",
                )
        return None
