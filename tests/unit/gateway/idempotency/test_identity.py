"""The identity of a request with an `Idempotency-Key`, and the seal of its answer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.idempotency.errors import InvalidIdempotencyKey
from finpool.gateway.idempotency.identity import RequestIdentity, identify
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ProjectId, TenantId

PEPPER = b"p" * 64
BANK = Actor(Audience.TENANT, "key_1", Role.TENANT_DEVELOPER, TenantId("bank-a"), ProjectId("main"))
ROUTE = "/v1/chat/completions"

Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
Bodies = st.dictionaries(st.text(), Json, max_size=4)
Keys = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


def of(key: str, body: Any, *, actor: Actor = BANK, route: str = ROUTE, indent: int | None = None) -> RequestIdentity:
    return identify(
        PEPPER, actor, key, route, json.dumps(body, indent=indent, ensure_ascii=False).encode("utf-8", "replace")
    )


@given(Keys, Bodies)
def test_the_same_request_written_in_another_way_is_the_same(key: str, body: dict[str, Any]) -> None:
    turned = dict(reversed(body.items()))
    assert of(key, body) == of(key, turned, indent=2)


@given(Keys, Bodies, Bodies)
def test_another_body_is_another_request(key: str, body: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(body, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (of(key, body).fingerprint == of(key, other).fingerprint) == same


def test_another_key_route_project_or_tenant_is_another_request() -> None:
    first = of("k", {})
    assert of("l", {}).key_digest != first.key_digest
    assert of("k", {}, route="/v1/embeddings").fingerprint != first.fingerprint
    assert of("k", {}, actor=replace(BANK, project_id=ProjectId("other"))).fingerprint != first.fingerprint
    assert of("k", {}, actor=replace(BANK, tenant_id=TenantId("bank-b"))).key_digest != first.key_digest
    # Another key of the same project may repeat the request: keys change, and the retry still finds its answer.
    assert of("k", {}, actor=replace(BANK, credential_id="key_2")) == first


@given(Keys, st.binary(min_size=1))
def test_an_answer_opens_with_its_own_key_alone(key: str, answer: bytes) -> None:
    identity = of(key, {})
    sealed = identity.seal(answer)
    assert identity.open(sealed) == answer
    assert identity.seal(answer) != sealed
    for other in (of(key, {"n": 1}), of(key + "x" if len(key) < 255 else "x", {}), of(key, {}, route="/rerank")):
        with pytest.raises(InvalidTag):
            other.open(sealed)
    with pytest.raises(InvalidTag):
        identity.open(bytes([sealed[0] ^ 1]) + sealed[1:])


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\x00", "a\x7f", "a\nb"])
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        of(key, {})


def test_the_key_of_the_seal_is_shown_nowhere() -> None:
    identity = of("k", {})
    assert repr(identity.seal_key) not in repr(identity)
