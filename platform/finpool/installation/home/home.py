"""The directory with all state of a one-machine installation, and the functions that write its files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

STATE_VERSION = "1"
"""Version of the directory's format; a release that cannot read the older format increases it."""


@dataclass(frozen=True, slots=True)
class Home:
    """The paths under `FINPOOL_HOME`; `root` is absolute."""

    root: Path

    @property
    def postgres(self) -> Path:
        """Data directory of the embedded Postgres."""
        return self.root / "postgres"

    @property
    def run(self) -> Path:
        """Directory with one record for each started process."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """Directory with one log for each process."""
        return self.root / "log"

    @property
    def demo_env(self) -> Path:
        """File with addresses, demo keys and tokens, for shells and tests to source."""
        return self.root / "demo.env"

    @property
    def version(self) -> Path:
        """File with the version of this directory's format."""
        return self.root / "version"

    @property
    def started_before(self) -> bool:
        """Whether a database was created here; from then on secrets and data belong together."""
        return (self.postgres / "PG_VERSION").exists()

    def prepare(self) -> None:
        """Create the directory and its version file, private to the owner; a second call changes nothing."""
        for directory in (self.root, self.run, self.log):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
        if os.geteuid() == 0:
            # If root starts Postgres, it runs as another user, which must pass through to its directory.
            self.root.chmod(0o711)
        if not self.version.exists():
            write_atomically(self.version, f"{STATE_VERSION}\n", mode=0o600)


def local_settings() -> Settings:
    """Return the settings with absolute directories, so that they mean the same in each process."""
    settings = Settings()
    directories = {
        name: value.expanduser().resolve()
        for name in ("home", "secrets_dir", "spool_dir", "catalogue_dir", "weights_dir")
        if (value := getattr(settings, name)) is not None
    }
    return settings.model_copy(update=directories)


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """Write `text` with fsync and rename; after a crash the file is the whole old or the whole new one."""
    unfinished = path.with_name(f".{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Lock the installation with flock: two concurrent `up` or `down` would stop each other's processes.

    Raises `ConfigurationError` if another process holds the lock.
    """
    directory = os.open(home.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigurationError(
            f"another `finpool up` or `finpool down` is at work in {home.root}: wait until it has ended"
        ) from error
    finally:
        os.close(directory)
