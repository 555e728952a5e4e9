"""HOME/run/engines.json: the state that this machine's pool has published."""

import json
from dataclasses import asdict
from pathlib import Path

from finpool.installation.home.home import write_atomically
from finpool.kernel.errors import ConfigurationError
from finpool.serving.pool.schemas import PoolState


def write_engines(home: Path, state: PoolState | None) -> None:
    """Replace the file, or remove it while the pool is not ready."""
    path = _path(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if state is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, json.dumps(asdict(state), indent=2) + "\n", mode=0o600)


def read_engines(home: Path) -> PoolState | None:
    """Return the published state of the pool, or None while it is not ready."""
    try:
        return PoolState(**json.loads(_path(home).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{_path(home)} cannot be read: {error}") from error


def _path(home: Path) -> Path:
    return home / "run" / "engines.json"
