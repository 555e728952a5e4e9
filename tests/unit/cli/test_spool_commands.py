"""`finpool spool`: an operator finds out what is damaged, saves what can be read and makes a spool of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from finpool.cli.main import run
from finpool.metering.spool import file as spool_file

LEASE = '{"tenant_id": "bank-a", "lease_id": "lease_1"}'


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This replica's spool, with two records that are sound and one between them that is not."""
    directory = tmp_path / "home" / "spool"
    monkeypatch.setenv("FINPOOL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FINPOOL_SPOOL_DIR", raising=False)
    connection = spool_file.connect(directory)
    for body in (LEASE, "{", LEASE):
        connection.execute("INSERT INTO record (kind, body) VALUES ('lease_return', ?)", (body,))
    connection.close()
    return directory


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_damaged_spool_is_checked_exported_and_repaired(
    spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "spool", "check", code=5)
    assert (found["intact"], found["records"], found["damaged_records"]) == (False, 2, [2])
    output = tmp_path / "export.jsonl"
    answer(capsys, "spool", "export", "--output", str(output))
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert lines[0]["body"] == json.loads(LEASE)
    assert "body_base64" in lines[1]
    made = answer(capsys, "spool", "repair")
    assert Path(made["damaged_file"]).exists()
    assert answer(capsys, "spool", "check")["missing"] == ["2"]


def test_people_are_told_what_to_do_next(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spool", "check"]) == 5
    told = capsys.readouterr().out
    assert "finpool spool export" in told
    assert "finpool spool repair" in told


def test_an_export_never_overwrites_a_file(spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert run(["spool", "export", "--output", str(taken)]) == 1
    assert taken.read_text() == "mine"


def test_a_record_is_set_aside_and_still_exported(
    spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "spool", "set-aside", "2")["set_aside"] == 2
    assert answer(capsys, "spool", "check")["aside"] == [2]
    output = tmp_path / "export.jsonl"
    answer(capsys, "spool", "export", "--output", str(output))
    tables = [(line["table"], line["seq"]) for line in map(json.loads, output.read_text().splitlines())]
    assert tables == [("aside", 2), ("record", 1), ("record", 3)]
    assert run(["spool", "set-aside", "7"]) == 1


def test_a_directory_without_a_spool_is_an_error_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spool", "check", "--directory", str(tmp_path)]) == 1
    assert "there is no spool" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_a_process_uses_is_not_repaired(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with spool_file.lock(spool):
        assert run(["spool", "repair"]) == 1
    assert "another process serves" in capsys.readouterr().err
