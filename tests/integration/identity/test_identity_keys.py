"""Keys in memory follow the database, and authenticating reads no database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import pytest
from sqlalchemy import event
from waiting import until

from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.identity import service as identity
from finpool.identity.errors import CredentialUnknown, TenantSuspended
from finpool.identity.platform_tokens import issue_platform_token
from finpool.identity.schemas import NewKey
from finpool.identity.service import KeyDirectory
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.changes import ChangeFeed, SnapshotTooOld
from finpool.kernel.database.database import Database
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import KeyId, ModelId, ProjectId, TenantId
from finpool.policy.service import Policy
from finpool.tenancy import service as tenancy
from finpool.tenancy.schemas import NewProject, NewTenant, ProjectChange, TenantChange
from finpool.tenancy.service import TenantDirectory

PEPPER = b"p" * 64
MODELS = (ModelId("model-a"), ModelId("model-b"))
BANK = TenantId("bank-a")
ADMIN = Actor(Audience.OPERATOR, "token_admin", Role.OPERATOR_ADMIN)
DEADLINE_SECONDS = 20.0


Result = TypeVar("Result")


@dataclass
class Door:
    """A running tenants' door, and the operators' side that changes what it knows."""

    gatekeeper: TenantGatekeeper
    policy: Policy
    inference: Database
    operator: Database

    async def create_key(self, role: str = "developer") -> tuple[KeyId, str]:
        """Create a key as an operator does; return its id and secret."""
        async with self.operator.across_tenants() as session:
            body = NewKey.model_validate({"project_id": "retail", "name": "a key", "role": role})
            key, secret = await identity.create_key(session, ADMIN, BANK, body, pepper=PEPPER)
            return KeyId(key.key_id), secret

    async def authenticated(self, secret: str) -> Actor:
        """Wait until the key is known, and return whom it stands for."""
        return await retried(lambda: self.gatekeeper.authenticate(secret), CredentialUnknown)

    async def refused(self, secret: str) -> Exception:
        """Wait until the key is refused, and return how."""

        async def refusal() -> Exception | None:
            try:
                await self.gatekeeper.authenticate(secret)
            except (CredentialUnknown, TenantSuspended) as error:
                return error
            return None

        return await until(refusal, "the key is refused", seconds_max=DEADLINE_SECONDS)


async def retried(attempt: Callable[[], Awaitable[Result]], *errors: type[Exception]) -> Result:
    """Try again until it succeeds; it may fail with these errors until then."""

    async def succeeded() -> tuple[Result] | None:
        with suppress(*errors):
            return (await attempt(),)
        return None

    (result,) = await until(succeeded, "the change is heard", seconds_max=DEADLINE_SECONDS)
    return result


@pytest.fixture
async def door(database: Callable[[str], Database]) -> AsyncIterator[Door]:
    """One bank with one project, and the door that admits it."""
    operator, inference = database("operator"), database("inference")
    async with operator.across_tenants() as session:
        await tenancy.create_tenant(session, ADMIN, NewTenant(id=BANK, name="A"), MODELS)
        await tenancy.create_project(session, ADMIN, BANK, NewProject(id="retail", name="Retail"))
    tenants = TenantDirectory()
    keys, policy = KeyDirectory(PEPPER, tenants), Policy(MODELS, tenants)
    feed = ChangeFeed(inference, (tenants, keys, policy), age_max_seconds=60)
    await feed.start()
    yield Door(TenantGatekeeper(feed, keys, policy), policy, inference, operator)
    await feed.close()


async def test_a_new_key_is_known_and_carries_tenant_project_and_role(door: Door) -> None:
    key_id, secret = await door.create_key("finance")
    actor = await door.authenticated(secret)
    assert actor == Actor(Audience.TENANT, key_id, Role.TENANT_FINANCE, BANK, ProjectId("retail"))


async def test_authenticating_and_authorising_read_no_database(door: Door) -> None:
    _, secret = await door.create_key()
    await door.authenticated(secret)
    used: list[object] = []
    event.listen(door.inference.engine.sync_engine, "checkout", lambda *_: used.append(_))
    for _ in range(100):
        actor = await door.gatekeeper.authenticate(secret)
        door.gatekeeper.authorize(actor, "inference:call")
        assert door.policy.models_for(actor) == MODELS
    assert used == []


async def test_a_revocation_reaches_the_running_door(door: Door) -> None:
    key_id, secret = await door.create_key()
    _, other = await door.create_key()
    await door.authenticated(secret)
    await door.authenticated(other)
    async with door.operator.across_tenants() as session:
        await identity.revoke_key(session, ADMIN, BANK, key_id)
    assert isinstance(await door.refused(secret), CredentialUnknown)
    await door.gatekeeper.authenticate(other)


async def test_a_suspended_tenants_good_key_is_told_so_and_a_bad_one_is_not(door: Door) -> None:
    _, secret = await door.create_key()
    await door.authenticated(secret)
    async with door.operator.across_tenants() as session:
        await tenancy.change_tenant(session, ADMIN, BANK, TenantChange(status="suspended"), MODELS)
    refusal = await door.refused(secret)
    assert isinstance(refusal, TenantSuspended)
    assert (refusal.status, refusal.code) == (403, "tenant_suspended")
    with pytest.raises(CredentialUnknown):
        await door.gatekeeper.authenticate("fpk_" + "0" * 36)
    async with door.operator.across_tenants() as session:
        await tenancy.change_tenant(session, ADMIN, BANK, TenantChange(status="active"), MODELS)
    await retried(lambda: door.gatekeeper.authenticate(secret), TenantSuspended)


async def test_an_archived_projects_keys_are_refused_like_unknown_ones(door: Door) -> None:
    _, secret = await door.create_key()
    await door.authenticated(secret)
    async with door.operator.across_tenants() as session:
        archive = ProjectChange(status="archived")
        await tenancy.change_project(session, ADMIN, BANK, ProjectId("retail"), archive)
    archived = await door.refused(secret)
    with pytest.raises(CredentialUnknown) as unknown:
        await door.gatekeeper.authenticate("not a key")
    assert str(archived) == str(unknown.value)
    assert str(unknown.value).startswith("Incorrect API key provided")


async def test_a_changed_contract_reaches_the_policy_of_the_running_door(door: Door) -> None:
    _, secret = await door.create_key()
    actor = await door.authenticated(secret)
    assert door.policy.models_for(actor) == MODELS
    async with door.operator.across_tenants() as session:
        await tenancy.change_tenant(session, ADMIN, BANK, TenantChange(models=("model-b",)), MODELS)

    async def version_two() -> None:
        if door.policy.version(BANK) != 2:
            raise LookupError

    await retried(version_two, LookupError)
    assert door.policy.models_for(actor) == ("model-b",)
    assert not door.policy.may_use(actor, ModelId("model-a"))


async def test_a_key_of_another_door_or_pepper_is_unknown(door: Door, database: Callable[[str], Database]) -> None:
    async with database("owner").across_tenants() as session:
        _, operator_token = await issue_platform_token(session, Role.OPERATOR_ADMIN, "x", pepper=PEPPER)
    _, secret = await door.create_key()
    await door.authenticated(secret)
    strange = KeyDirectory(b"q" * 64, TenantDirectory())
    async with door.inference.across_tenants() as session:
        await strange.load(session, None)
    with pytest.raises(CredentialUnknown):
        strange.authenticate(secret)
    with pytest.raises(CredentialUnknown):
        await door.gatekeeper.authenticate(operator_token)


async def test_a_finance_key_may_not_call_models(door: Door) -> None:
    _, secret = await door.create_key("finance")
    actor = await door.authenticated(secret)
    with pytest.raises(Forbidden):
        door.gatekeeper.authorize(actor, "inference:call")


async def test_a_tenants_role_gets_no_platform_token(database: Callable[[str], Database]) -> None:
    async with database("owner").across_tenants() as session:
        with pytest.raises(ValueError, match="tenants have keys"):
            await issue_platform_token(session, Role.TENANT_OWNER, "x", pepper=PEPPER)


async def test_a_door_that_never_heard_from_the_database_admits_nobody(database: Callable[[str], Database]) -> None:
    tenants = TenantDirectory()
    feed = ChangeFeed(database("inference"), (), age_max_seconds=60)
    silent = TenantGatekeeper(feed, KeyDirectory(PEPPER, tenants), Policy(MODELS, tenants))
    with pytest.raises(SnapshotTooOld) as refused:
        await silent.authenticate("fpk_" + "0" * 36)
    assert refused.value.status == 503
