"""The progress display of `up` and `down`: a spinner on a terminal, plain lines elsewhere, nothing with JSON."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Note = Callable[[str], None]


class Progress:
    """The steps of a command, each with notes and a duration. Without a console nothing is shown."""

    def __init__(self, console: Console | None) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Note]:
        """Show one step while it runs; the yielded function adds a note."""
        if self._console is None:
            yield _nothing
            return
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(title) as status:
                yield lambda text: status.update(f"{title}: {text}")
        else:
            self.say(f"{title} ...")
            yield lambda text: self.say(f"    {text}")
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s")

    def say(self, text: str) -> None:
        """Show one line."""
        if self._console is not None:
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def _nothing(_: str) -> None:
    """Ignore a note, because JSON output shows none."""
