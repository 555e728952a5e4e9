"""The pauses of a running event loop: how long it served nobody, for which reason, and in which line of code.

A heartbeat is due on the loop every millisecond. A late one is a pause if the loop's thread computed, or if a callback
waited in a blocking call. It is one, too, if other threads of this process computed and held Python's lock. A late one
alone says nothing: the machine may have given the processors to other processes.
"""

import asyncio
import gc
import selectors
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import thread_clock
from thread_clock import Reading, ThreadClock

BEAT_SECONDS = 0.001
LOOK_SECONDS = 0.002
"""How often the watching thread looks whether the heartbeat is late."""

LATE_NS = 3_000_000
"""The watching thread samples the stack of a loop whose heartbeat is so late."""

_BETWEEN_LOOKS_NS = int(2e9 * LOOK_SECONDS)
_ROOT = f"{Path(__file__).parents[2]}/"
_OURS = (f"{_ROOT}tests/", f"{_ROOT}platform/finpool/")
_DETECTOR = (__file__, thread_clock.__file__)


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause in milliseconds; `computed_ms` of `own_ms` are processor time of the loop's thread."""

    own_ms: float
    computed_ms: float
    where: str

    def __str__(self) -> str:
        waited_ms = max(0.0, self.own_ms - self.computed_ms)
        return f"the loop paused for {self.own_ms:.1f} ms, {waited_ms:.1f} ms of them waiting, {self.where}"


def place_of(frame: FrameType | None, *beside: str) -> str:
    """Return the innermost line of our own code on a stack, and the innermost of all if that is another.

    Frames of this detector and of files `beside` it count as none.
    """
    names: list[str] = []
    while frame is not None:
        if frame.f_code.co_filename not in (*_DETECTOR, *beside):
            name = f"{frame.f_code.co_filename.removeprefix(_ROOT)}:{frame.f_lineno} ({frame.f_code.co_qualname})"
            if frame.f_code.co_filename.startswith(_OURS):
                return f"in {name}" + (f", which called {names[0]}" if names else "")
            names.append(name)
        frame = frame.f_back
    return f"in {names[0]}" if names else "at an unknown line"


class LoopPauses:
    """Measures the pauses of the running loop from `start` to `stop`, which are both called on it.

    `report` gets each pause of at least `least_ms`.
    """

    def __init__(self, report: Callable[[Pause], None], *, least_ms: float) -> None:
        self._report = report
        self._least_ns = int(least_ms * 1e6)
        self._beats = 0
        self._seen: Counter[str] = Counter()
        self._seen_in = 0
        self._seen_from_ns = self._seen_until_ns = 0
        self._collected_ns = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to measure."""
        self._loop = asyncio.get_running_loop()
        self._clock = ThreadClock()
        # uvloop waits within the innermost of these frames; it has none of its own.
        self._under_loop, frame = set[FrameType](), sys._getframe(1)
        while frame.f_back is not None:
            frame = frame.f_back
            self._under_loop.add(frame)
        self._last = self._clock.read()
        self._watcher = threading.Thread(target=self._watch, name="loop pauses", daemon=True)
        self._watcher.start()
        gc.callbacks.append(self._on_collection)
        self._begin_beat()

    def stop(self) -> None:
        """Report a pause that is under way, and end."""
        self._timer.cancel()
        self._note(self._clock.read())
        gc.callbacks.remove(self._on_collection)
        self._stopped.set()
        self._watcher.join()
        self._clock.close()

    def _beat(self) -> None:
        self._note(self._clock.read())
        self._begin_beat()

    def _begin_beat(self) -> None:
        self._collected_ns = 0
        self._beats += 1
        self._last = self._clock.read()
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _note(self, now: Reading) -> None:
        last = self._last
        late_ns = now.at_ns - last.at_ns - int(BEAT_SECONDS * 1e9) - (now.preempted_ns - last.preempted_ns)
        if late_ns < self._least_ns:
            return
        computed_ns = min(late_ns, now.computed_ns - last.computed_ns)
        by_others_ns = now.computed_by_process_ns - last.computed_by_process_ns - computed_ns
        is_seen = self._seen_in == self._beats
        # A thread that has lost its processor keeps Python's lock, so only a waiting one is seen for long.
        seen_ns = self._seen_until_ns - self._seen_from_ns + _BETWEEN_LOOKS_NS if is_seen else 0
        waited_ns = min(late_ns - computed_ns, max(by_others_ns, seen_ns))
        if computed_ns + waited_ns >= self._least_ns:
            place = self._seen.most_common(1)[0][0] if is_seen else "at a line that was not seen"
            if self._collected_ns > computed_ns / 2:
                place = f"in the collector of cycles, {place}"
            self._report(Pause((computed_ns + waited_ns) / 1e6, computed_ns / 1e6, place))

    def _on_collection(self, phase: str, _: dict[str, Any]) -> None:
        if threading.get_ident() != self._clock.thread:
            return
        now_ns = self._clock.read().computed_ns
        if phase == "start":
            self._collection_began_ns = now_ns
        else:
            self._collected_ns += now_ns - self._collection_began_ns

    def _watch(self) -> None:
        clock = ThreadClock()
        while not self._stopped.wait(LOOK_SECONDS):
            beats, now_ns = self._beats, clock.read().at_ns
            if now_ns - self._last.at_ns < LATE_NS:
                continue
            frame = sys._current_frames().get(self._clock.thread)
            if frame is None or frame.f_code.co_filename == selectors.__file__ or frame in self._under_loop:
                continue
            if self._seen_in != beats:
                self._seen, self._seen_in, self._seen_from_ns = Counter(), beats, now_ns
            self._seen[place_of(frame)] += 1
            self._seen_until_ns = now_ns
        clock.close()


@contextmanager
def loop_pauses(least_ms: float) -> Iterator[list[Pause]]:
    """Collect the pauses of the running loop, each of at least `least_ms`, until the block ends.

    Objects from before are exempt from collections, as those of a door's start are.
    """
    found: list[Pause] = []
    gc.freeze()
    pauses = LoopPauses(found.append, least_ms=least_ms)
    pauses.start()
    try:
        yield found
    finally:
        pauses.stop()
        gc.unfreeze()
