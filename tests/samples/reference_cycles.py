"""Objects that only the collector of cycles frees: each one brings the next collection nearer."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

KINDS_SHOWN_MAX = 8


@dataclass
class CyclicObjects:
    """The objects in cycles of a block, once it has ended; `kinds` are those that no collection had found before."""

    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in self.kinds.most_common(KINDS_SHOWN_MAX))
        return f"{self.count} objects were in reference cycles: {kinds}"


@contextmanager
def reference_cycles() -> Iterator[CyclicObjects]:
    """Count the objects that the block leaves in cycles."""
    found = CyclicObjects()

    def on_collection(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop":
            found.count += info["collected"]

    gc.collect()
    gc.callbacks.append(on_collection)
    flags = gc.get_debug()
    try:
        yield found
    finally:
        gc.callbacks.remove(on_collection)
        kept = len(gc.garbage)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(flags)
        found.kinds.update(type(each).__qualname__ for each in gc.garbage[kept:])
        found.count += len(gc.garbage) - kept
        del gc.garbage[kept:]
