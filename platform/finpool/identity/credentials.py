"""Credentials: how one is made, recognised and kept.

`prefix_` + 30 base62 characters (178 bits) + 6 base62 characters of CRC32 over all that stands before. The checksum
tells a mistyped credential before any look-up, and lets scanners find leaked ones. Kept is only a keyed digest: with
so many bits a slow password hash would add nothing but time.
"""

import hmac
import re
import secrets
import zlib

from finpool.kernel.actor import Audience

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
_HINT_LENGTH = 4
_PREFIXES = {Audience.TENANT: "fpk_", Audience.OPERATOR: "fpo_", Audience.REGULATOR: "fpr_"}
_PATTERNS = {
    audience: re.compile(rf"{prefix}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
    for audience, prefix in _PREFIXES.items()
}


def new_credential(audience: Audience) -> str:
    """Return a new secret for one door; it is shown once and never kept."""
    body = _PREFIXES[audience] + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def well_formed(credential: str, audience: Audience) -> bool:
    """Tell whether this could be a credential for the door: prefix, length, alphabet and checksum are right."""
    if _PATTERNS[audience].fullmatch(credential) is None:
        return False
    return _checksum(credential[:-_CHECKSUM_LENGTH]) == credential[-_CHECKSUM_LENGTH:]


def digest(credential: str, pepper: bytes) -> bytes:
    """Return the 32 bytes that stand for the credential in the database: HMAC-SHA256 with the pepper."""
    return hmac.digest(pepper, credential.encode(), "sha256")


def hint(credential: str) -> str:
    """Return the last four characters, by which people tell their keys apart."""
    return credential[-_HINT_LENGTH:]


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    characters = []
    for _ in range(_CHECKSUM_LENGTH):
        value, index = divmod(value, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(reversed(characters))
