"""Each domain declares the modules that others may import, and layers and folders hold: planted violations are found.

`public_modules.csv` lists every module that another domain imports, and the domains that import it. Write it anew with
`python tests/architecture/test_domains.py`, and let someone read the difference.
"""

import ast
import csv
import io
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLATFORM = ROOT / "platform"
TABLE = Path(__file__).with_name("public_modules.csv")
REGENERATE = "python tests/architecture/test_domains.py"
HEADER = ("module", "imported_by")
FOR_ALL = "kernel"
"""Every domain may import every module of the kernel."""


def modules(platform: Path) -> dict[str, Path]:
    """Return every module below `platform` by its dotted name."""
    return {
        ".".join(path.relative_to(platform).with_suffix("").parts): path
        for path in sorted((platform / "finpool").rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each import of a file as (module, name); `import a.b` has no name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def domain_of(module: str) -> str:
    """Return `billing` for `finpool.billing.invoice.service`."""
    return module.split(".")[1]


def offered(platform: Path) -> list[tuple[str, str]]:
    """Return each module that another domain imports, with the domains that import it."""
    known = modules(platform)
    importers: dict[str, set[str]] = defaultdict(set)
    for importer, path in known.items():
        for module, name in imported(path):
            target = f"{module}.{name}" if f"{module}.{name}" in known else module
            if target in known and domain_of(target) not in (domain_of(importer), FOR_ALL):
                importers[target].add(domain_of(importer))
    return sorted((module, " ".join(sorted(domains))) for module, domains in importers.items())


def rendered(rows: list[tuple[str, str]]) -> str:
    """Return the table as it is committed."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEADER, *rows])
    return out.getvalue()


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the tree in `folder`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"PYTHONPATH": str(folder / "platform"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code and its contracts."""
    shutil.copytree(
        PLATFORM / "finpool", tmp_path / "platform" / "finpool", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(tree: Path, path: str, line: str) -> None:
    """Add a line to a module of the copy."""
    module = tree / "platform" / "finpool" / path
    module.write_text(f"{module.read_text()}\n{line}\n")


def test_domains_import_only_what_others_declare_as_public() -> None:
    assert rendered(offered(PLATFORM)) == TABLE.read_text(), f"an import crosses domains; if it is meant: {REGENERATE}"


def test_routes_are_imported_by_apps_alone() -> None:
    routes = [(module, by) for module, by in offered(PLATFORM) if module.split(".")[-1].startswith("routes")]
    assert routes
    assert [module for module, by in routes if by != "apps"] == []


def test_an_import_that_was_not_declared_is_found(tree: Path) -> None:
    plant(tree, "billing/cost/service.py", "from finpool.metering.usage.repository import usage_rows")
    found = set(offered(tree / "platform")) - set(offered(PLATFORM))
    assert ("finpool.metering.usage.repository", "billing") in found


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("quota/errors.py", "import finpool.billing.errors", "Domains are layered"),
        ("quota/account/postings.py", "import finpool.quota.limit.service", "circle"),
        ("serving/backend/headers.py", "import ray", "neither an engine nor Ray"),
        ("serving/transport/sse.py", "import finpool.serving.engine.routes", "neither an engine nor Ray"),
    ],
)
def test_a_planted_import_breaks_its_contract(tree: Path, path: str, line: str, contract: str) -> None:
    plant(tree, path, line)
    checked = lint_imports(tree)
    broken = " ".join(checked.stdout.replace("\n", " ").split())
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert contract in broken
    assert "BROKEN" in broken


if __name__ == "__main__":
    TABLE.write_text(rendered(offered(PLATFORM)))
