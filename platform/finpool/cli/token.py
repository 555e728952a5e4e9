"""`finpool token`: credentials for the operator and regulator APIs, managed in the database as its owner.

The database's libraries are imported inside the commands, because every other command starts faster without them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from finpool.cli.output import JsonOption, show_fields, show_json, show_table
from finpool.client.errors import CliError
from finpool.installation.home.home import Home, local_settings
from finpool.kernel.actor import Audience, Role
from finpool.kernel.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from finpool.identity.models import PlatformToken

token_app = typer.Typer(no_args_is_help=True, help="Tokens of operators and regulators.")

Result = TypeVar("Result")


ROLES = tuple(role for role in Role if role.audience is not Audience.TENANT)
"""Roles of tokens; a tenant's roles belong to keys."""


def _role(value: str) -> Role:
    if value not in ROLES:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(ROLES)}")
    return Role(value)


@token_app.command("issue")
def issue(
    role: Annotated[Role, typer.Option(parser=_role, metavar="|".join(ROLES), help="Role of the token.")],
    name: Annotated[str, typer.Option(help="Name of its holder.")],
    json: JsonOption = False,
) -> None:
    """Issue a token and show its secret, once."""
    from finpool.identity import platform_tokens

    settings = local_settings()
    pepper = settings.secret("key_pepper")

    async def work(session: "AsyncSession") -> tuple[str, str]:
        return await platform_tokens.issue_platform_token(session, role, name, pepper=pepper)

    token_id, secret = _as_owner(settings, work)
    shown = {"id": token_id, "name": name, "role": str(role), "secret": secret}
    show_json(shown) if json else show_fields(shown)


@token_app.command("list")
def list_tokens(json: JsonOption = False) -> None:
    """List all tokens, revoked ones included."""
    from finpool.identity import platform_tokens

    tokens = [_shown(token) for token in _as_owner(local_settings(), platform_tokens.list_platform_tokens)]
    if json:
        show_json(tokens)
    else:
        columns = ("id", "name", "role", "status", "created_at")
        show_table(columns, ([token[column] for column in columns] for token in tokens), empty="No tokens.")


@token_app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Token id.")], json: JsonOption = False
) -> None:
    """Revoke a token; its next request is refused."""
    from finpool.identity import platform_tokens

    async def work(session: "AsyncSession") -> "PlatformToken":
        return await platform_tokens.revoke_platform_token(session, token_id)

    shown = _shown(_as_owner(local_settings(), work))
    show_json(shown) if json else show_fields(shown)


def _shown(token: "PlatformToken") -> dict[str, Any]:
    return {
        "id": token.token_id,
        "name": token.name,
        "role": token.role,
        "status": str(token.status),
        "created_at": token.created_at.isoformat(timespec="seconds"),
    }


def _as_owner(settings: Settings, work: "Callable[[AsyncSession], Awaitable[Result]]") -> Result:
    """Run `work` in one transaction of the schema's owner, in the configured database or this machine's own."""
    if settings.owner_database_url is not None:
        url = settings.database_url("owner")
    elif Home(settings.home).started_before:
        from finpool.installation.postgres import start_postgres

        url = start_postgres(settings.home).urls["owner"]
    else:
        raise CliError("set FINPOOL_OWNER_DATABASE_URL, or run this where `finpool up` was run", code="configuration")

    from finpool.kernel.database.database import Database

    async def run() -> Result:
        database = Database(url, connections_max=1)
        try:
            async with database.across_tenants() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(run())
