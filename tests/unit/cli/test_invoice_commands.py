"""The command line's reading of its options, before it makes a call."""

import pytest

from finpool.cli.main import run
from finpool.client.errors import ExitCode

CREDIT = ["invoice", "credit", "bank-a", "inv_1", "--reference", "case 1", "--reason", "outage"]


@pytest.mark.parametrize("line", ["two", "2=", "=10000", "2=1.50", "-1"])
def test_a_line_to_credit_is_a_number_or_a_number_and_an_amount(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CREDIT, f"--line={line}"]) == ExitCode.USAGE
    assert "--line takes a line's number" in capsys.readouterr().err
