"""How xdist hands out the tests: by file, the longest first, and those with real engines to two processes."""

from itertools import zip_longest

import pytest
from xdist.scheduler import LoadFileScheduling

REAL_ENGINES = {
    "installations": (
        "tests/e2e/test_readme.py",
        "tests/e2e/test_make_up.py",
        "tests/e2e/test_main_job.py",
        "tests/e2e/test_model_versions.py",
    ),
    "pools": (
        "tests/integration/engine/test_engine_killed.py",
        "tests/integration/engine/test_engine_pool.py",
        "tests/integration/engine/test_engine_processes.py",
        "tests/integration/engine/test_scaling.py",
        "tests/integration/gateway/test_embeddings.py",
    ),
}
"""Files that start models on Ray, in two units of about the same length, each in the order of one process of the run.

The files of a unit share an installation or a pool, which another process would start once more. Two units keep two
cores busy; three engines at once would only wait for each other.
"""

_UNIT_OF = {path: unit for unit, paths in REAL_ENGINES.items() for path in paths}
_FIRST = [path for together in zip_longest(*REAL_ENGINES.values()) for path in together if path is not None]

LONGEST_FIRST = (
    "tests/faultrun",
    "tests/integration/faults",
    "tests/integration/api",
    "tests/integration/invariants",
    "tests/integration/engine",
    "tests/integration/deployment",
    "tests/integration",
)


def place(path: str) -> int:
    """Return where a file comes in the order of the run."""
    if path in _UNIT_OF:
        return _FIRST.index(path)
    at = next((number for number, each in enumerate(LONGEST_FIRST) if path.startswith(each)), len(LONGEST_FIRST))
    return len(_FIRST) + at


class WorkUnits(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types.
    """Gives each process of the run one unit after the other: a file, or one half of the files with models on Ray."""

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return _UNIT_OF.get(path, path)


def scheduler(config: pytest.Config, log: object) -> WorkUnits | None:
    """Return the scheduler for `--dist loadfile`; xdist alone would begin with the files that hold the most tests."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return WorkUnits(config, log)
