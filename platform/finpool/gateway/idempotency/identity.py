"""The identity of a repeatable request, and the seal of its answer.

The database gets HMACs and ciphertext only. The key of the seal comes from the pepper and from the client's own
Idempotency-Key, and neither is in the database.
"""

import hmac
import re
from dataclasses import dataclass, field
from os import urandom

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from finpool.gateway.idempotency.errors import InvalidIdempotencyKey
from finpool.kernel.actor import Actor
from finpool.kernel.ids import TenantId

_WELL_FORMED = re.compile(r"[\x20-\x7e]{1,255}")
_NONCE_BYTES = 12
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """The digest of a tenant's Idempotency-Key, the fingerprint of the request, and the key of its answer's seal."""

    tenant_id: TenantId
    key_digest: bytes
    fingerprint: bytes
    seal_key: bytes = field(repr=False)

    def seal(self, answer: bytes) -> bytes:
        """Encrypt an answer with AES-256-GCM, bound to this request; returns nonce and ciphertext."""
        nonce = urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.seal_key).encrypt(nonce, answer, self._bound_to)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt an answer; raises `cryptography.exceptions.InvalidTag` if it was changed or is another request's."""
        return AESGCM(self.seal_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to)

    @property
    def _bound_to(self) -> bytes:
        return self.key_digest + self.fingerprint


def identify(pepper: bytes, actor: Actor, key: str, route: str, body: bytes) -> RequestIdentity:
    """Return the identity of a request with a valid JSON body; raise `InvalidIdempotencyKey` for a malformed key.

    White space and the order of fields in the body do not count.
    """
    if _WELL_FORMED.fullmatch(key) is None:
        raise InvalidIdempotencyKey
    canonical = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    key_digest = _digest(pepper, b"idempotency key", actor.tenant.encode(), key.encode())
    derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=key_digest, info=b"finpool idempotent answer 1")
    return RequestIdentity(
        actor.tenant,
        key_digest,
        _digest(pepper, b"idempotent request", route.encode(), actor.project.encode(), canonical),
        derived.derive(pepper + b"\0" + key.encode()),
    )


def _digest(pepper: bytes, *parts: bytes) -> bytes:
    """Return an HMAC-SHA256 of parts; only the last part may hold a zero byte."""
    return hmac.digest(pepper, b"\0".join(parts), "sha256")
