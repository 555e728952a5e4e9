"""The main job, end to end: two banks call a real model on Ray Serve, and everyone sees the same numbers."""

import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest
from installation import CATALOGUE_VARIABLE, Installation
from waiting import until_now

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.ids import TenantId

MODEL = "smollm2-135m-instruct"
QUESTION: list[Any] = [{"role": "user", "content": "What is a bank? Answer in one sentence."}]
FIELDS = ("requests", "input_tokens", "output_tokens")


def get(url: str, credential: str) -> Any:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {credential}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def declared() -> Catalogue:
    """Return the catalogue that the installation serves."""
    directory = os.environ.get(CATALOGUE_VARIABLE)
    return Catalogue.load(Path(directory) if directory else default_directory())


class Platform:
    """The doors of a running installation and its engine's counts."""

    def __init__(self, installation: Installation) -> None:
        self.env = installation.demo_env
        self.serve_url = f"http://127.0.0.1:{installation.port + 10}{declared().get(MODEL).engine_path}"
        self.engine_token = (installation.home / "secrets" / "engine_token").read_text().strip()

    def bank(self, name: str, **options: Any) -> openai.OpenAI:
        key = self.env[f"BANK_{name}_KEY"]
        return openai.OpenAI(
            base_url=self.env["FINPOOL_BASE_URL"], api_key=key, admin_api_key=key, max_retries=0, **options
        )

    def engine_usage(self) -> dict[str, int]:
        counted: dict[str, int] = get(f"{self.serve_url}/usage", self.engine_token)
        return counted

    def usage(self, door: str, tenant: str) -> dict[str, int]:
        """Return a bank's totals as one door shows them."""
        if door == "tenant":
            with self.bank(tenant[-1].upper()) as client:
                page = client.admin.organization.usage.completions(start_time=int(time.time()) // 86_400 * 86_400)
            results: Any = [each for bucket in page.data for each in bucket.results]
            return {
                "requests": sum(each.num_model_requests for each in results),
                "input_tokens": sum(each.input_tokens for each in results),
                "output_tokens": sum(each.output_tokens for each in results),
            }
        url, token = {
            "operator": (self.env["FINPOOL_OPERATOR_URL"], self.env["OPERATOR_TOKEN"]),
            "regulator": (self.env["FINPOOL_REGULATOR_URL"], self.env["REGULATOR_TOKEN"]),
        }[door]
        groups = get(f"{url}/v1/usage?group_by=tenant", token)["data"]
        return next(
            ({f: each[f] for f in FIELDS} for each in groups if each["tenant_id"] == tenant), dict.fromkeys(FIELDS, 0)
        )

    def settled(self, tenant: str) -> dict[str, int]:
        """Wait until nothing of the bank is pending, and return its account."""
        url = f"{self.env['FINPOOL_OPERATOR_URL']}/v1/tenants/{tenant}/account"

        def nothing_pending() -> dict[str, int] | None:
            account: dict[str, int] = get(url, self.env["OPERATOR_TOKEN"])
            return account if account["pending_micros"] == 0 else None

        return until_now(nothing_pending, "nothing is pending", pause_seconds=0.1)


@pytest.fixture(scope="module")
def platform(installation: Installation) -> Platform:
    return Platform(installation)


def grown(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {field: after[field] - before[field] for field in FIELDS}


def test_models_are_listed(platform: Platform) -> None:
    with platform.bank("A") as client:
        listed = {model.id for model in client.models.list()}
    assert listed == {model.id for model in declared().all() if model.open_to(TenantId("bank-a"))} >= {MODEL}


def test_what_the_engine_counted_is_what_all_three_views_show_and_what_is_paid(platform: Platform) -> None:
    doors = ("tenant", "operator", "regulator")
    account_before = platform.settled("bank-a")
    before = {door: platform.usage(door, "bank-a") for door in doors}
    of_b_before = platform.usage("regulator", "bank-b")
    engine_before = platform.engine_usage()

    with platform.bank("A") as client:
        plain = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0)
        stream = client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reported = [plain.usage, chunks[-1].usage]
    assert plain.choices[0].message.content
    assert plain.choices[0].message.content == streamed
    assert all(usage and usage.prompt_tokens > 0 and usage.completion_tokens > 0 for usage in reported)
    spent = {
        "requests": 2,
        "input_tokens": sum(usage.prompt_tokens for usage in reported if usage),
        "output_tokens": sum(usage.completion_tokens for usage in reported if usage),
    }

    account = platform.settled("bank-a")
    assert grown(platform.engine_usage(), engine_before) == spent
    for door in doors:
        assert grown(platform.usage(door, "bank-a"), before[door]) == spent, door
    assert platform.usage("regulator", "bank-b") == of_b_before
    # The model costs 1 micro per input token and 2 per output token.
    paid = account["posted_micros"] - account_before["posted_micros"]
    assert paid == spent["input_tokens"] + 2 * spent["output_tokens"]


def test_a_stream_that_its_client_leaves_stops_the_engine_and_is_paid_as_far_as_it_came(platform: Platform) -> None:
    before, engine_before = platform.usage("operator", "bank-a"), platform.engine_usage()
    with platform.bank("A") as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=1000, stream=True, extra_body={"ignore_eos": True}
        )
        for number, _ in enumerate(stream):
            if number == 10:
                break
        stream.close()
    platform.settled("bank-a")
    spent, counted = grown(platform.usage("operator", "bank-a"), before), grown(platform.engine_usage(), engine_before)
    assert platform.engine_usage()["aborted"] == engine_before["aborted"] + 1
    assert 10 <= spent["output_tokens"] < 1000
    assert spent["input_tokens"] == counted["input_tokens"]
    # Tokens from after the client left, until the engine heard of it, are not charged.
    assert spent["output_tokens"] <= counted["output_tokens"] < 1000


def test_a_client_that_leaves_while_its_prompt_is_computed_pays_for_the_prompt(platform: Platform) -> None:
    before, engine_before = platform.usage("operator", "bank-a"), platform.engine_usage()
    long: list[Any] = [{"role": "user", "content": "What is a bank? " * 250}]
    with platform.bank("A", timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=MODEL, messages=long, max_tokens=200)
    platform.settled("bank-a")
    spent, counted = grown(platform.usage("operator", "bank-a"), before), grown(platform.engine_usage(), engine_before)
    assert spent["input_tokens"] == counted["input_tokens"] > 1000
    assert spent["output_tokens"] <= counted["output_tokens"] < 200


def key_of(result: Any) -> str:
    """Return the key of a result, which has one if it was asked to be grouped by keys."""
    key: str = result.api_key_id
    return key


def test_bank_a_sees_nothing_of_bank_b_by_any_route(platform: Platform) -> None:
    with platform.bank("B") as client:
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
    platform.settled("bank-b")
    midnight = int(time.time()) // 86_400 * 86_400
    with platform.bank("A") as a, platform.bank("B") as b:
        of_b = next(iter(b.admin.organization.audit_logs.list()))
        shown = a.admin.organization.usage.completions(start_time=midnight, group_by=["project_id", "api_key_id"])
        own_keys = {key_of(each) for bucket in shown.data for each in bucket.results}
        shown_b = b.admin.organization.usage.completions(start_time=midnight, group_by=["api_key_id"])
        keys_of_b = {key_of(each) for bucket in shown_b.data for each in bucket.results}
        assert keys_of_b
        assert not own_keys & keys_of_b
        asked = a.admin.organization.usage.completions(start_time=midnight, api_key_ids=list(keys_of_b))
        assert [each for bucket in asked.data for each in bucket.results] == []
        assert a.admin.organization.audit_logs.list(after=of_b.id).data == []
        with pytest.raises(openai.PermissionDeniedError):
            openai.OpenAI(base_url=a.base_url, api_key=a.api_key, organization="bank-b").models.list()
    for door in ("FINPOOL_OPERATOR_URL", "FINPOOL_REGULATOR_URL"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{platform.env[door]}/v1/usage", platform.env["BANK_A_KEY"])


def test_a_budget_too_small_is_refused_for_good_and_a_new_one_holds_at_once(
    platform: Platform, installation: Installation
) -> None:
    installation.json("limits", "set", "bank-b", "--budget-month-micros", "10")
    with platform.bank("B") as client:

        def refusal() -> openai.RateLimitError | None:
            try:
                client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
            except openai.RateLimitError as error:
                return error
            return None

        refused = until_now(refusal, "the budget refuses", pause_seconds=0.05)
        assert (refused.status_code, refused.code) == (429, "insufficient_quota")
        assert refused.response.headers["x-should-retry"] == "false"
        installation.json("apply")
        until_now(lambda: refusal() is None, "the budget that was put back holds", pause_seconds=0.05)


def test_a_revoked_key_stops_working_within_two_seconds(platform: Platform, installation: Installation) -> None:
    made = installation.json("key", "create", "bank-a", "research", "--name", "short-lived")
    with openai.OpenAI(base_url=platform.env["FINPOOL_BASE_URL"], api_key=made["secret"], max_retries=3) as client:
        deadline = time.monotonic() + 2
        while True:
            try:
                client.models.list()
                break
            except openai.AuthenticationError:
                assert time.monotonic() < deadline
        installation.json("key", "revoke", "bank-a", made["id"])
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return
    pytest.fail("the revoked key still works after two seconds")


def test_the_audit_log_holds_what_happened_and_verifies(platform: Platform, installation: Installation) -> None:
    assert installation.json("audit", "verify")
    entries = installation.json("audit", "list", "--limit", "1000")
    kinds = {json.loads(entry["entry"])["kind"] for entry in entries["data"]}
    assert {"tenant.created", "key.created", "limits.changed", "usage.recorded"} <= kinds
