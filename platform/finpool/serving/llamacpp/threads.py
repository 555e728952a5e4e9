"""How the threads of llama.cpp wait for each other."""

import os


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep at a barrier. Call this before the first import of llama.cpp's library.

    The threads meet at hundreds of barriers for each token, and by default they spin there for milliseconds. On a busy
    machine a spinning thread takes the core that the other thread needs, so an answer takes many times as long.
    OpenMP reads the variable once, when its library is loaded. An operator's own value stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
