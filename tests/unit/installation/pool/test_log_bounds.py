"""Logs of other programs keep within a bound while these write."""

from pathlib import Path

from finpool.installation.pool.log_bounds import bound, logs_of_others

BYTES_MAX = 1_000


def test_a_log_above_the_bound_keeps_its_end_beside_it_while_its_program_goes_on(tmp_path: Path) -> None:
    logs = tmp_path / "ray" / "session_1" / "logs"
    (tmp_path / "postgres").mkdir()
    (logs / "serve").mkdir(parents=True)
    large, nested, small = tmp_path / "postgres" / "log", logs / "serve" / "replica.log", logs / "worker.out"
    small.write_text("few")
    for path in (large, nested):
        with path.open("a") as writing:
            for number in range(1_000):
                writing.write(f"line {number}\n")
            writing.flush()
            bound(logs_of_others(tmp_path, tmp_path / "ray"), BYTES_MAX)
            writing.write("goes on\n")
        assert path.read_text() == "goes on\n"
        kept = path.with_name(f"{path.name}.1").read_text()
        assert (len(kept), kept[-9:]) == (BYTES_MAX, "line 999\n")
    assert small.read_text() == "few"


def test_a_log_that_is_missing_is_no_error(tmp_path: Path) -> None:
    bound(logs_of_others(tmp_path, tmp_path / "ray"), BYTES_MAX)
