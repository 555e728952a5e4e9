"""Commands that work on the database say what is wrong with it in one line."""

import asyncio
import re
import struct
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from finpool.cli.main import run
from finpool.installation.home.secret_files import DATABASE_ROLES
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database, connect
from finpool.kernel.database.database_url import DatabaseUrl
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


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mysql://finpool_owner:secret@127.0.0.1/finpool", "must begin with postgresql://"),
        ("postgresql://finpool_owner:secret@127.0.0.1:99999/finpool", "port must be a number from 1 to 65535"),
        ("postgresql://finpool_owner:secret@127.0.0.1/finpool?keepalives=1", "the parameter keepalives"),
    ],
)
@pytest.mark.parametrize("command", [ISSUE, ["token", "list"], ["migrate"]])
def test_a_url_that_cannot_be_used_is_one_line_that_names_its_setting(
    command: list[str], url: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for role in DATABASE_ROLES:
        monkeypatch.setenv(f"FINPOOL_{role.upper()}_DATABASE_URL", url)
    assert run(command) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search("FINPOOL_[A-Z]+_DATABASE_URL: ", line)
    assert advice in line
    assert "secret" not in line


@pytest.mark.parametrize("command", ["operator", "regulator", "inference", "worker"])
def test_a_process_with_a_wrong_url_does_not_start_and_says_why(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"FINPOOL_{command.upper()}_DATABASE_URL", "mysql://finpool@127.0.0.1/finpool")
    assert run(["serve", command]) == 1
    assert f"FINPOOL_{command.upper()}_DATABASE_URL: it must begin with" in capsys.readouterr().err


async def test_the_server_gets_the_parameters_of_the_url(postgres: EmbeddedPostgres) -> None:
    url = postgres.urls["owner"].replace("postgresql://", "postgres://")
    more = "sslmode=disable&application_name=books&options=-c%20statement_timeout%3D5s&target_session_attrs=read-write"
    database = Database(f"{url}&{more}&connect_timeout=5", connections_max=1)
    asked = text("SELECT current_setting('application_name') || ', ' || current_setting('statement_timeout')")
    try:
        async with database.across_tenants() as session:
            assert await session.scalar(asked) == "books, 5s"
        connection = await database.connect()
        try:
            assert await connection.fetchval(asked.text) == "books, 5s"
        finally:
            await connection.close()
    finally:
        await database.close()


async def test_a_server_without_the_encryption_that_the_url_requires_is_not_used() -> None:
    requests: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(8))
        writer.write(b"N")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = DatabaseUrl.parse(f"postgresql://finpool_owner:secret@127.0.0.1:{port}/finpool?sslmode=require")
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await connect(url)
    assert requests == [struct.pack("!ii", 8, 80877103)], "the password goes nowhere before the encryption"
