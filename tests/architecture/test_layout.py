"""House rules of the layout that no linter knows."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from source_files import PACKAGE, ROOT, imports, tracked

FILE_LINES_MAX = 250
FUNCTION_LINES_MAX = 70
WEB_FRAMEWORKS = {"fastapi", "starlette"}
NAMES_WITHOUT_MEANING = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

TEMPORARY = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


PYTHON_FILES = [ROOT / name for name in tracked("*.py")]
PACKAGE_FILES = [path for path in PYTHON_FILES if PACKAGE in path.parents]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short_enough_to_be_read_at_once() -> None:
    long = {
        shown(path): count for path in PYTHON_FILES if (count := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_functions_are_short_enough_to_be_read_at_once() -> None:
    long = {
        f"{shown(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in PYTHON_FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_packages_do_not_re_export() -> None:
    assert [shown(path) for path in PYTHON_FILES if path.name == "__init__.py" and path.read_text()] == []


def test_neither_the_tests_nor_the_platform_folder_is_a_package() -> None:
    misplaced = [path for path in PYTHON_FILES if path.name == "__init__.py" and PACKAGE not in path.parents]
    assert [shown(path) for path in misplaced if path.parent != PACKAGE] == []


def test_tests_live_under_tests_only() -> None:
    tests = [path for path in PYTHON_FILES if path.name == "conftest.py" or path.name.startswith("test_")]
    assert [shown(path) for path in tests if ROOT / "tests" not in path.parents] == []


def test_modules_are_named_by_what_they_hold() -> None:
    assert [shown(path) for path in PYTHON_FILES if NAMES_WITHOUT_MEANING & {path.stem, path.parent.name}] == []


def test_nothing_is_left_for_later() -> None:
    files = [
        ROOT / name
        for name in tracked("platform", "tests", "helm", "terraform", "tenants", "docs", "Makefile", ".ci", "*.md")
    ]
    found = [
        f"{shown(path)}:{number}"
        for path in files
        if path != Path(__file__) and path.suffix not in (".csv", ".gguf")
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if TEMPORARY.search(line)
    ]
    assert found == []


def may_use_the_web(path: Path) -> bool:
    routes = path.stem == "routes" or path.stem.startswith("routes_")
    of_the_doors = path.parent == PACKAGE / "kernel" / "door" and path.name in ("direct.py", "door.py", "web.py")
    return routes or of_the_doors or PACKAGE / "apps" in path.parents


def test_no_web_framework_below_the_routes() -> None:
    found = [
        f"{shown(path)} imports {module}"
        for path in PACKAGE_FILES
        if not may_use_the_web(path)
        for module in imports(path)
        if module.split(".")[0] in WEB_FRAMEWORKS
    ]
    assert found == []


def past_the_routes(path: Path, imported: Iterable[str]) -> list[str]:
    """Return the modules of the doors that a file below the routes imports."""
    if may_use_the_web(path) or PACKAGE / "kernel" / "door" in path.parents:
        return []
    return [f"{shown(path)} imports {each}" for each in imported if each.startswith("finpool.kernel.door.")]


def test_nothing_below_the_routes_knows_the_doors() -> None:
    assert [found for path in PACKAGE_FILES for found in past_the_routes(path, imports(path))] == []
    planted = ["finpool.kernel.door.web.requires", "finpool.kernel.ids.TenantId"]
    below, above = PACKAGE / "quota" / "limit" / "service.py", PACKAGE / "quota" / "limit" / "routes_tenant.py"
    assert past_the_routes(below, planted) == [f"{shown(below)} imports {planted[0]}"]
    assert past_the_routes(above, planted) == []


def test_the_protocols_of_serving_are_in_one_place() -> None:
    places = {
        shown(path)
        for path in PACKAGE_FILES
        if PACKAGE / "serving" in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    }
    assert places == {f"platform/finpool/serving/{each}" for each in ("protocols.py", "vllm/protocols.py")}
