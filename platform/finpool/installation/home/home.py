"""The directory that holds all state of a one-machine installation, and the only ways files in it are written."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

STATE_VERSION = "1"
"""Format of the directory; a release that cannot read an older one changes this and says how to move on."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything lies under `FINPOOL_HOME`; `root` is absolute."""

    root: Path

    @property
    def postgres(self) -> Path:
        """Data directory of the embedded Postgres."""
        return self.root / "postgres"

    @property
    def run(self) -> Path:
        """Directory with one record for each process that was started."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """Directory with one log for each process."""
        return self.root / "log"

    @property
    def demo_env(self) -> Path:
        """Addresses, demo keys and tokens, for people and tests to source."""
        return self.root / "demo.env"

    @property
    def version(self) -> Path:
        """Marker that says which release's format this directory has."""
        return self.root / "version"

    @property
    def started_before(self) -> bool:
        """Tell whether a database was made here, so that secrets and data belong together."""
        return (self.postgres / "PG_VERSION").exists()

    def prepare(self) -> None:
        """Create the directory and its marker, private to its owner; running it again changes nothing."""
        for directory in (self.root, self.run, self.log):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
        if os.geteuid() == 0:
            # Started by root, Postgres runs as a user of its own, who has to pass through to its directory.
            self.root.chmod(0o711)
        if not self.version.exists():
            write_atomically(self.version, f"{STATE_VERSION}\n", mode=0o600)


def local_settings() -> Settings:
    """Return the settings with every directory absolute, so that they mean the same to each process."""
    settings = Settings()
    directories = {
        name: value.expanduser().resolve()
        for name in ("home", "secrets_dir", "spool_dir", "catalogue_dir", "weights_dir")
        if (value := getattr(settings, name)) is not None
    }
    return settings.model_copy(update=directories)


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """Write `text` so that after a crash the file is either the old one or the whole new one."""
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
    """Hold the installation: two `up` or `down` at once would start and stop each other's processes."""
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
