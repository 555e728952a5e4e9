"""The log of a process: an output that nobody reads stops nothing, and a file has a bound."""

import json
import subprocess
import sys
from pathlib import Path

LINES = 30_000
BYTES_MAX = 65_536
PROGRAM = """
import sys
from pathlib import Path
from finpool.kernel.log_output import LogRotation
from finpool.kernel.logs import configure_logs, logger
configure_logs("INFO", "test", LogRotation(Path(sys.argv[1]), int(sys.argv[2])))
log = logger("test")
for number in range(int(sys.argv[3])):
    log.info("a line", number=number)
print("went on", file=sys.stderr, flush=True)
"""


def command(directory: Path, lines: int) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(directory), str(BYTES_MAX), str(lines)]


def test_a_process_whose_output_nobody_reads_goes_on_and_counts_the_lost_lines(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(tmp_path, LINES), text=True, **pipes) as run:  # type: ignore[call-overload]
        assert run.stderr.readline() == "went on\n"
        lines = [json.loads(line) for line in run.stdout]
    lost = sum(line["lines"] for line in lines if "lines" in line)
    assert lost > 0
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(numbers)
    assert len(numbers) + lost <= LINES


def test_a_log_file_is_moved_away_above_its_bound_and_never_takes_more_than_two(tmp_path: Path) -> None:
    path = tmp_path / "test.log"
    with path.open("ab") as log:
        run = subprocess.run(command(tmp_path, 5_000), stdout=log, stderr=log, check=True)
    assert run.returncode == 0
    assert {each.name for each in tmp_path.iterdir()} == {"test.log", "test.log.1"}
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 4 * BYTES_MAX
    assert sum('"number": 4999,' in each.read_text() for each in tmp_path.iterdir()) == 1


def test_a_log_file_elsewhere_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    with path.open("ab") as log:
        subprocess.run(command(tmp_path / "log", 1_000), stdout=log, check=True)
    assert [each.name for each in tmp_path.iterdir()] == ["own.log"]
    assert len(path.read_text().splitlines()) == 1_000
