"""Forbidden contents of files, and migrations that may not change any more."""

import hashlib
import re

from source_files import ROOT, tracked

VERSIONS = ROOT / "platform" / "migrations" / "versions"
RELEASED = ROOT / "platform" / "migrations" / "released.txt"

# Each is put together here, so that this file does not hold what it looks for.
REGISTRIES = [
    r"\.".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "(org|com)"),
        ("yarnpkg", "com"),
        ("debian", "org"),
        ("pytorch", "org"),
        ("anaconda", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
    )
]
"""A bank installs from its own mirror, wherever that is."""

HOMES = [re.escape("/" + directory) + r"/(?!you\b)[\w.-]+" for directory in ("home", "Users")]
HOMES.append(re.escape("/" + "root") + r"\b")
"""Whose machine a file was written on is nobody's business; examples are about `you`."""


def texts() -> dict[str, str]:
    """Return every file that belongs to the project, tracked or new, that is text, by its path."""
    found = {}
    for name in tracked():
        try:
            found[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def lines_with(patterns: list[str]) -> list[str]:
    """Return each line that holds one of the patterns, as path:number."""
    wanted = re.compile("|".join(rf"(?<![\w-]){pattern}" for pattern in patterns))
    return [
        f"{name}:{number}"
        for name, text in texts().items()
        if wanted.search(text)
        for number, line in enumerate(text.splitlines(), start=1)
        if wanted.search(line)
    ]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert lines_with(REGISTRIES) == []


def test_no_file_holds_a_path_of_somebodys_home_directory() -> None:
    assert lines_with(HOMES) == []


def test_a_migration_never_changes_once_it_is_listed() -> None:
    listed = dict(line.split()[::-1] for line in RELEASED.read_text().splitlines())
    existing = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(VERSIONS.glob("*.py"))}
    changed = [name for name, digest in listed.items() if existing.get(name) != digest]
    assert changed == [], "databases exist that ran these: take the change back and add a new migration instead"
    new = [f"{digest}  {name}" for name, digest in existing.items() if name not in listed]
    assert new == [], f"put the new migration on record: add these lines to {RELEASED.relative_to(ROOT)}"


def test_no_code_takes_an_advisory_lock() -> None:
    """Any database role can take one by its number and keep it; `role_lock` has locks of named roles."""
    advisory = re.compile(r"pg_(try_)?advisory")
    found = [str(path) for path in (ROOT / "platform").rglob("*.py") if advisory.search(path.read_text("utf-8"))]
    assert found == []
