"""The file of the demo's keys is read back as it was written, or its faulty line is named."""

from pathlib import Path

import pytest

from finpool.installation.demo.env import read_demo_env, write_demo_env
from finpool.installation.home.home import Home
from finpool.kernel.errors import ConfigurationError


def test_demo_env_reads_back_as_it_was_written_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    values = {"FINPOOL_BASE_URL": "http://127.0.0.1:8000/v1", "BANK_A_KEY": "fpk_abc"}
    assert read_demo_env(home) == {}
    write_demo_env(home, values)
    assert read_demo_env(home) == values
    assert home.demo_env.stat().st_mode & 0o777 == 0o600


def test_a_demo_env_that_is_half_written_is_named_with_its_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.demo_env.write_text("BANK_A_KEY=fpk_abc\nBANK_B_")
    with pytest.raises(ConfigurationError, match=r"line 2 is not NAME=value"):
        read_demo_env(home)


def test_a_value_that_a_shell_would_run_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BANK_A_KEY"):
        write_demo_env(Home(tmp_path), {"BANK_A_KEY": "$(true)"})
