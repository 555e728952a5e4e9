"""What engines counted is there when they are gone: other processes, and the same engine started again, add to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from finpool.serving.counters import Counters, counters_for, counts_file, forget_counts, kept_counts

KEY = "small_1"
NOTHING = Counters().figures()
PROCESS = """
import sys, time
from pathlib import Path
from finpool.serving.counters import Counters, counts_file
counters = Counters(requests=1)
counters.keep_in(counts_file(Path(sys.argv[1]), sys.argv[2]))
counters.running += 1
for _ in range(int(sys.argv[3])):
    counters.input_tokens += 2
    counters.output_tokens += 1
print("counted", flush=True)
time.sleep(600)
"""


class Process:
    """An engine's process, as far as it counts."""

    def __init__(self, home: Path, times: int, key: str = KEY) -> None:
        command = [sys.executable, "-c", PROCESS, str(home), key, str(times)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"counted\n"

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def sums(requests: int, times: int, running: int = 0) -> dict[str, int]:
    return {**NOTHING, "requests": requests, "running": running, "input_tokens": 2 * times, "output_tokens": times}


def test_processes_of_one_engine_count_beside_each_other_and_killed_ones_stay_counted(tmp_path: Path) -> None:
    first, second = Process(tmp_path, 10), Process(tmp_path, 100)
    other = Process(tmp_path, 1, "other_1")
    assert kept_counts(tmp_path) == {KEY: sums(2, 110, running=2), "other_1": sums(1, 1, running=1)}
    first.kill()
    assert kept_counts(tmp_path)[KEY] == sums(2, 110, running=2)
    third = Process(tmp_path, 1000)
    assert kept_counts(tmp_path)[KEY] == sums(3, 1110, running=2), "what the killed one ran is not running any more"
    assert counts_file(tmp_path, KEY).stat().st_size == 2 * 8 * len(NOTHING), "the third has the first one's row"
    for process in (second, third, other):
        process.kill()
    forget_counts(tmp_path)
    assert kept_counts(tmp_path) == {}


def test_counts_begin_where_they_were_and_go_on_in_the_file(tmp_path: Path) -> None:
    counters = Counters(input_tokens=3)
    counters.output_tokens += 4
    counters.keep_in(counts_file(tmp_path, KEY))
    counters.cached_input_tokens += 2
    counters.aborted += 1
    expected = {**NOTHING, "input_tokens": 3, "output_tokens": 4, "cached_input_tokens": 2, "aborted": 1}
    assert kept_counts(tmp_path) == {KEY: expected}
    assert counters.figures() == expected
    assert counters_for({}, counters) is counters
    counters_for({"uncounted": True}, counters).output_tokens += 5
    assert kept_counts(tmp_path) == {KEY: expected}


def test_nothing_is_counted_where_nothing_was_kept(tmp_path: Path) -> None:
    assert kept_counts(tmp_path) == {}
    file = counts_file(tmp_path, KEY)
    file.parent.mkdir(parents=True)
    file.touch()
    assert kept_counts(tmp_path) == {KEY: NOTHING}
