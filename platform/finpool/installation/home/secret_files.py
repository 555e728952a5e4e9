"""The secrets of a one-machine installation: created once, readable by the owner only, never replaced."""

import secrets
import stat
import string
from pathlib import Path

from finpool.installation.home.home import write_atomically
from finpool.kernel.settings import SECRET_LENGTH_MIN, Settings

DATABASE_ROLES = tuple(
    name.removesuffix("_database_url") for name in Settings.model_fields if name.endswith("_database_url")
)
"""The schema's owner and every role of a process."""

SECRET_NAMES = ("key_pepper", "engine_token", "ray_token")
POSTGRES_SECRET_NAMES = tuple(f"postgres_{role}" for role in ("superuser", *DATABASE_ROLES))
BOUND_TO_DATA = ("key_pepper", "postgres_superuser")
"""Existing keys and data need these secrets; the other secrets may be created again."""

SECRET_LENGTH = 64

_ALPHABET = string.ascii_letters + string.digits
_DISTINCT_CHARACTERS_MIN = 8


def ensure_secret(directory: Path, name: str) -> str:
    """Return the secret `name`; create it from 64 random characters if the file is missing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / name
    if not path.exists():
        value = "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
        write_atomically(path, value, mode=0o600)
    return path.read_text(encoding="utf-8").strip()


def secret_fault(path: Path) -> str | None:
    """Return the fault of an existing secret file as a text, or None."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return f"{path} can be read by others (mode {mode:03o}): run `chmod 600 {path}`"
    value = path.read_bytes().strip()
    if len(value) < SECRET_LENGTH_MIN or len(set(value)) < _DISTINCT_CHARACTERS_MIN:
        return f"{path} is weak: restore it from a backup, or put {SECRET_LENGTH} random characters in it"
    return None


def remote_key_fault(path: Path) -> str | None:
    """Return the fault of a remote engine's key file as a text, or None.

    Only the engine's owner can issue this key, so `finpool up` checks it before it starts any process.
    """
    return secret_fault(path) if path.is_file() else f"the key of its engine is not at {path}: put it there, mode 600"
