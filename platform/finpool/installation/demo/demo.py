"""The demo after `finpool up`: tokens, two banks' keys, and a real completion as proof that the platform works."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from finpool.client.api import ApiClient, segment
from finpool.client.errors import Refused
from finpool.identity.platform_tokens import issue_platform_token, list_platform_tokens, revoke_platform_token
from finpool.installation.demo.env import read_demo_env, write_demo_env
from finpool.installation.home.home import Home
from finpool.installation.process.components import INFERENCE, OPERATOR, REGULATOR, local_url
from finpool.kernel.actor import Role
from finpool.kernel.database.database import Database
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

DEMO_BANKS = {"bank-a": "BANK_A_KEY", "bank-b": "BANK_B_KEY"}
DEMO_NAME = "finpool up"
"""The name of the tokens and keys that `up` creates."""

_KEY_KNOWN_SECONDS = 15.0
_PAUSE_SECONDS = 0.2
_RECORDED_SECONDS = 30.0
_RETRIED = (408, 429, 500, 502, 503, 504)


class Demo:
    """The contents of demo.env. Every method may run again and keeps each working credential."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self.values = {
            **read_demo_env(home),
            "FINPOOL_BASE_URL": f"{local_url(settings, INFERENCE)}/v1",
            "FINPOOL_OPERATOR_URL": local_url(settings, OPERATOR),
            "FINPOOL_REGULATOR_URL": local_url(settings, REGULATOR),
        }

    @property
    def operator(self) -> ApiClient:
        """The operator API with the demo's token."""
        return ApiClient(self.values["FINPOOL_OPERATOR_URL"], self.values.get("OPERATOR_TOKEN", ""))

    @property
    def regulator(self) -> ApiClient:
        """The regulator API with the demo's token."""
        return ApiClient(self.values["FINPOOL_REGULATOR_URL"], self.values.get("REGULATOR_TOKEN", ""))

    def bank(self, name: str) -> ApiClient:
        """Return the inference API with a demo bank's key."""
        return ApiClient(self.values["FINPOOL_BASE_URL"], self.values.get(DEMO_BANKS[name], ""))

    def ensure_tokens(self, owner_url: str) -> None:
        """Issue the operator's and the regulator's tokens unless those in demo.env work; revoke the demo's earlier
        tokens.
        """
        roles: dict[str, Role] = {}
        if not _opens(lambda: self.operator.get("/v1/models")):
            roles["OPERATOR_TOKEN"] = Role.OPERATOR_ADMIN
        if not _opens(lambda: self.regulator.get("/v1/institutions")):
            roles["REGULATOR_TOKEN"] = Role.REGULATOR_SUPERVISOR
        if roles:
            self.values |= asyncio.run(_issue(owner_url, roles, self._settings.secret("key_pepper")))
        write_demo_env(self._home, self.values)

    def ensure_keys(self) -> None:
        """Create a key for each demo bank unless the one in demo.env works; revoke the demo's earlier keys."""
        for bank, variable in DEMO_BANKS.items():
            if self._key_works(bank):
                continue
            keys = f"/v1/tenants/{bank}/keys"
            for key in self.operator.list(keys):
                if key["name"] == DEMO_NAME and key["status"] == "active":
                    self.operator.delete(f"{keys}/{segment(key['id'])}")
            project = self._first_project(bank)
            key = self.operator.post(keys, {"project_id": project, "name": DEMO_NAME, "role": "owner"})
            self.values[variable] = key["secret"]
            write_demo_env(self._home, self.values)

    def complete(self, timeout_seconds: float) -> tuple[str, str]:
        """Send a chat as bank A until an answer arrives and its usage is recorded.

        Returns the model's id and the answer. Raises `ConfigurationError` without an answer or a usage record in time.
        """
        recorded_before = self._recorded_requests()
        deadline = time.monotonic() + timeout_seconds
        bank = self.bank("bank-a")
        models = _patiently(lambda: bank.get("/models"), (401,), _KEY_KNOWN_SECONDS)["data"]
        model_id = next((str(model["id"]) for model in models if model["kind"] not in ("embedding", "rerank")), None)
        if model_id is None:
            raise ConfigurationError("the catalogue has no chat model, which the first completion needs")
        question = {
            "model": model_id,
            "messages": [{"role": "user", "content": "What is a bank? Answer in one short sentence."}],
            "max_tokens": 24,
        }
        answer = _patiently(
            lambda: bank.post("/chat/completions", question), _RETRIED, max(1.0, deadline - time.monotonic())
        )
        text = str(answer["choices"][0]["message"]["content"]).strip()
        if not text or answer["usage"]["completion_tokens"] < 1:
            raise ConfigurationError(f"{model_id} answered without text or usage; the log is {self._home.log}/pool.log")
        deadline = time.monotonic() + _RECORDED_SECONDS
        while self._recorded_requests() == recorded_before:
            if time.monotonic() > deadline:
                raise ConfigurationError(f"the answer's usage was not recorded; the log is {self._home.log}/worker.log")
            time.sleep(_PAUSE_SECONDS)
        return model_id, text

    def _recorded_requests(self) -> int:
        groups = self.operator.get("/v1/usage", {"from": 0, "group_by": "tenant"})["data"]
        return sum(int(group["requests"]) for group in groups if group["tenant_id"] == "bank-a")

    def _key_works(self, bank: str) -> bool:
        return bool(self.values.get(DEMO_BANKS[bank])) and _opens(lambda: self.bank(bank).get("/models"))

    def _first_project(self, bank: str) -> str:
        projects = self.operator.list(f"/v1/tenants/{bank}/projects")
        active = [str(project["id"]) for project in projects if project["status"] == "active"]
        if not active:
            raise ConfigurationError(f"the demo bank {bank} has no active project: declare one in tenants/{bank}")
        return active[0]


def _opens(call: Callable[[], Any]) -> bool:
    """Tell whether a credential is accepted; raise any error other than a 401."""
    try:
        call()
    except Refused as error:
        if error.status == 401:
            return False
        raise
    return True


def _patiently(call: Callable[[], dict[str, Any]], retried: tuple[int, ...], seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except Refused as error:
            if error.status not in retried or error.code == "insufficient_quota" or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


async def _issue(owner_url: str, roles: dict[str, Role], pepper: bytes) -> dict[str, str]:
    database = Database(owner_url, connections_max=1)
    try:
        async with database.across_tenants() as session:
            for earlier in await list_platform_tokens(session):
                if earlier.name == DEMO_NAME and earlier.role in roles.values():
                    await revoke_platform_token(session, earlier.token_id)
            return {
                variable: (await issue_platform_token(session, role, DEMO_NAME, pepper=pepper))[1]
                for variable, role in roles.items()
            }
    finally:
        await database.close()
