"""Exit codes and error shapes of the command line, without a platform."""

import json
from pathlib import Path

import pytest

from finpool.cli.main import run
from finpool.installation.demo.env import write_demo_env
from finpool.installation.home.home import Home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A machine on which nothing runs."""
    monkeypatch.setenv("FINPOOL_HOME", str(tmp_path / "home"))
    for name in ("FINPOOL_OPERATOR_URL", "OPERATOR_TOKEN", "FINPOOL_REGULATOR_URL", "REGULATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home")


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    captured = capsys.readouterr()
    assert captured.out == ""
    document: dict[str, dict[str, object]] = json.loads(captured.err)
    return document["error"]


def test_help_is_no_error() -> None:
    assert run(["--help"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["tenant", "create"],
        ["limits", "set", "bank-a"],
        ["limits", "set", "bank-a", "--concurrency", "-1"],
        ["limits", "set", "bank-a", "--concurrency", "many"],
        ["limits", "set", "bank-a", "--budget-month-micros", "1.5"],
        ["limits", "set", "bank-a", "--soft-thresholds-percent", "80,", "--scope", "key", "--id", "key_1"],
        ["limits", "set", "bank-a", "--scope", "project", "--concurrency", "1"],
        ["limits", "set", "bank-a", "--id", "lending", "--concurrency", "1"],
        ["limits", "set", "bank-a", "--scope", "use_case", "--id", "x", "--concurrency", "1"],
        ["tenant", "change", "bank-a"],
        ["usage", "show", "--group-by", "colour"],
        ["usage", "show", "--group-by", "tenant,colour"],
        ["usage", "show", "--group-by", ","],
        ["token", "issue", "--role", "tenant.owner", "--name", "A"],
        ["key", "change", "bank-a", "key_1"],
        ["audit", "verify", "--head", "12"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--json"]) == 2
    assert error_of(capsys)["code"] == "usage"


def test_without_a_platform_the_missing_variables_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "--json"]) == 1
    assert "FINPOOL_OPERATOR_URL and OPERATOR_TOKEN not found" in str(error_of(capsys)["message"])


def test_a_platform_that_does_not_answer_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINPOOL_OPERATOR_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OPERATOR_TOKEN", "t")
    assert run(["tenant", "list", "--json"]) == 3
    assert error_of(capsys)["code"] == "unreachable"


def test_this_machines_token_never_goes_to_an_address_from_the_environment(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.prepare()
    write_demo_env(home, {"FINPOOL_OPERATOR_URL": "http://127.0.0.1:1", "OPERATOR_TOKEN": "secret"})
    monkeypatch.setenv("FINPOOL_OPERATOR_URL", "http://example.org")
    assert run(["tenant", "list", "--json"]) == 1
    assert "OPERATOR_TOKEN not found in the environment" in str(error_of(capsys)["message"])


def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINPOOL_PORT", "many")
    assert run(["status"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("finpool: FINPOOL_PORT: ")
    assert error.count("\n") == 1


def test_status_of_a_stopped_platform_exits_with_1_and_lists_every_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 1
    states = json.loads(capsys.readouterr().out)
    assert {state["name"] for state in states} == {"inference", "operator", "regulator", "worker", "pool", "postgres"}
    assert not any(state["running"] or state["ready"] for state in states)


def test_stopping_what_does_not_run_is_no_error(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down"]) == 0
    assert capsys.readouterr().out == "Nothing was running.\n"
    home.prepare()
    assert run(["down"]) == 0


def test_up_refuses_an_unfit_machine_with_one_line_each_and_touches_nothing(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.root.mkdir()
    (home.root / "thesis.txt").write_text("mine")
    assert run(["up", "--json"]) == 1
    assert "thesis.txt" in str(error_of(capsys)["message"])
    assert [each.name for each in home.root.iterdir()] == ["thesis.txt"]


def test_up_says_so_when_the_home_cannot_be_made(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.root.write_text("a file")
    assert run(["up", "--json"]) == 1
    assert "set FINPOOL_HOME to another path" in str(error_of(capsys)["message"])


def test_serving_without_secrets_says_which_one_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "inference"]) == 1
    assert capsys.readouterr().err == "finpool: FINPOOL_INFERENCE_DATABASE_URL is not set\n"
