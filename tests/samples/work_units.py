"""How xdist hands out the tests: by file, what takes longest first, and real engines to one process."""

import pytest
from xdist.scheduler import LoadFileScheduling

REAL_ENGINES = (
    "tests/e2e/test_model_versions.py",
    "tests/integration/engine/test_scaling.py",
    "tests/e2e/test_make_up.py",
    "tests/e2e/test_main_job.py",
    "tests/e2e/test_readme.py",
    "tests/integration/engine/test_engine_pool.py",
    "tests/integration/engine/test_engine_processes.py",
    "tests/integration/engine/test_engine_killed.py",
    "tests/integration/gateway/test_embeddings.py",
)
"""Files that start models on Ray, in the order of one process of the run.

Some use the same installation, which a second process would start once more. On two cores, three engines that start at
the same time take many times as long as one after the other. Everything beside them waits.
"""

LONGEST_FIRST = (
    "tests/faultrun",
    "tests/integration/faults",
    "tests/integration/invariants",
    "tests/integration/engine",
    "tests/integration/deployment",
    "tests/integration",
)


def place(path: str) -> int:
    """Return where a file comes in the order of the run."""
    if path in REAL_ENGINES:
        return REAL_ENGINES.index(path)
    at = next((number for number, each in enumerate(LONGEST_FIRST) if path.startswith(each)), len(LONGEST_FIRST))
    return len(REAL_ENGINES) + at


class WorkUnits(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types.
    """Gives each process of the run one unit after the other: a file, or all files that start models on Ray."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "real engines" if path in REAL_ENGINES else path


def scheduler(config: pytest.Config, log: object) -> WorkUnits | None:
    """Return the scheduler for `--dist loadfile`; xdist alone would begin with the files that hold the most tests."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return WorkUnits(config, log)
