"""Commands that work on the database say what is wrong with it in one line."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from finpool.cli.main import run
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.settings import Settings


@pytest.fixture(autouse=True)
def machine(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with secrets; each test names the database."""
    monkeypatch.setenv("FINPOOL_HOME", str(tmp_path))
    monkeypatch.setenv("FINPOOL_SECRETS_DIR", str(settings.secrets_path))


ISSUE = ["token", "issue", "--role", "operator.admin", "--name", "First"]


def test_a_database_that_is_not_migrated_is_one_line_that_says_so(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The server's own database `postgres` never is.
    url = urlsplit(postgres.urls["owner"])
    monkeypatch.setenv("FINPOOL_OWNER_DATABASE_URL", urlunsplit(url._replace(path="/postgres")))
    assert run(ISSUE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "run `finpool migrate`" in line


def test_a_wrong_password_is_one_line_without_the_password(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = str(urlsplit(postgres.urls["owner"]).password)
    monkeypatch.setenv("FINPOOL_OWNER_DATABASE_URL", postgres.urls["owner"].replace(right, "wrong-password"))
    assert run(ISSUE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "password authentication failed" in line
    assert "FINPOOL_<ROLE>_DATABASE_URL" in line
    assert "wrong-password" not in line
