"""Tokens of operators and regulators, as their owner handles them on the command line."""

import json
import subprocess
import sys
from typing import Any

import pytest
from signed_context import sector_rows

from finpool.identity.errors import CredentialUnknown
from finpool.identity.service import PlatformTokens
from finpool.kernel.actor import Audience, Role
from finpool.kernel.settings import Settings


@pytest.fixture
def finpool(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FINPOOL_HOME", str(settings.home))
    monkeypatch.setenv("FINPOOL_OWNER_DATABASE_URL", settings.database_url("owner"))

    def run(*arguments: str, exit_code: int = 0) -> Any:
        command = [sys.executable, "-m", "finpool.cli.main", "token", *arguments, "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == exit_code, ended.stderr
        return json.loads(ended.stdout or ended.stderr)

    return run


async def test_a_token_opens_one_door_until_it_is_revoked(finpool: Any, settings: Settings, database: Any) -> None:
    issued = finpool("issue", "--role", "regulator.examiner", "--name", "Ms Chen")
    tokens = PlatformTokens(database("regulator"), settings.secret("key_pepper"))
    actor = await tokens.authenticate(Audience.REGULATOR, issued["secret"])
    assert (actor.role, actor.credential_id) == (Role.REGULATOR_EXAMINER, issued["id"])
    with pytest.raises(CredentialUnknown):
        await tokens.authenticate(Audience.OPERATOR, issued["secret"])

    finpool("revoke", issued["id"])
    with pytest.raises(CredentialUnknown):
        await tokens.authenticate(Audience.REGULATOR, issued["secret"])
    assert [(each["id"], each["status"]) for each in finpool("list")] == [(issued["id"], "revoked")]
    assert issued["secret"] not in json.dumps(finpool("list"))


async def test_tokens_are_on_record(finpool: Any, settings: Settings) -> None:
    issued = finpool("issue", "--role", "operator.sre", "--name", "night shift")
    finpool("revoke", issued["id"])
    finpool("revoke", issued["id"])
    query = "SELECT kind, body->>'name' AS name FROM audit_outbox ORDER BY outbox_id"
    rows = await sector_rows(settings.database_url("worker"), query)
    assert [tuple(row) for row in rows] == [("token.issued", "night shift"), ("token.revoked", "night shift")]


def test_an_unknown_token_is_said_to_be_unknown(finpool: Any) -> None:
    refused = finpool("revoke", "token_of_nobody", exit_code=1)
    assert refused["error"]["code"] == "token_not_found"


def test_a_tenants_role_is_a_usage_error(finpool: Any) -> None:
    assert finpool("issue", "--role", "tenant.owner", "--name", "x", exit_code=2)


def test_a_token_is_not_issued_under_a_name_that_misleads(finpool: Any) -> None:
    for name in ("", "night\u202etfihs", "a\u200bb", "x" * 201):
        refused = finpool("issue", "--role", "operator.sre", "--name", name, exit_code=1)
        assert refused["error"]["code"] == "invalid_request"
    assert finpool("list") == []
