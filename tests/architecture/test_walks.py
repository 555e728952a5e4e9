"""The walks that docs/architecture.md shows to a reader are the code's: short, connected, and no file comes twice."""

import ast
import re

import pytest
from source_files import PACKAGE, ROOT, imports

FILES_MAX = {
    "The walk from a route to the engine's connection": 12,
    "The walk from an operator's budget to its refusal": 10,
}
ENDS = {
    "The walk from a route to the engine's connection": ("gateway/routes.py", "serving/transport/connection.py"),
    "The walk from an operator's budget to its refusal": ("quota/limit/routes_operator.py", "quota/errors.py"),
}
HUBS = ("gateway/routes.py", "gateway/call/call.py", "quota/reservation/service.py", "quota/reservation/allotments.py")
"""Files from which a walk goes on more than once: the route, the steps of a call, and those of a reservation."""
STEPS = ("pass_breaker", "reserve", "record_intent", "wait_for_turn", "dispatch", "stream", "settle")


def walk(heading: str) -> list[str]:
    """Return the files of one walk, in order."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.split(f"### {heading}\n")[1].split("\n### ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)


def imported(file: str) -> set[str]:
    """Return the files of the package that a file imports, whole or a name of."""
    names = [each.removeprefix("finpool.") for each in imports(PACKAGE / file) if each.startswith("finpool.")]
    return {f"{name.replace('.', '/')}.py" for each in names for name in (each, each.rpartition(".")[0])}


def strangers(files: list[str]) -> list[str]:
    """Return the files that neither import nor are imported by the file before them or by an earlier hub."""
    found = []
    for number, file in enumerate(files[1:], 1):
        before = [files[number - 1], *(each for each in files[:number] if each in HUBS)]
        if not any(file in imported(each) or each in imported(file) for each in before):
            found.append(file)
    return found


def steps(source: str) -> list[str]:
    """Return the steps that the one coroutine function of a module calls, in order."""
    (serve,) = [each for each in ast.parse(source).body if isinstance(each, ast.AsyncFunctionDef)]
    calls = [
        (each.lineno, each.func.attr)
        for each in ast.walk(serve)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
    ]
    return [name for _, name in sorted(calls) if name in STEPS]


@pytest.mark.parametrize("heading", FILES_MAX)
def test_a_walk_is_short_connected_and_enters_no_file_twice(heading: str) -> None:
    files = walk(heading)
    assert [each for each in files if not (PACKAGE / each).is_file()] == []
    assert 0 < len(files) <= FILES_MAX[heading]
    assert len(set(files)) == len(files)
    assert (files[0], files[-1]) == ENDS[heading]
    assert strangers(files) == []


def test_a_file_that_is_not_on_the_way_and_a_gap_are_found() -> None:
    assert strangers(["gateway/routes.py", "gateway/service.py", "billing/focus/csv.py"]) == ["billing/focus/csv.py"]
    files = walk("The walk from a route to the engine's connection")
    files.remove("gateway/call/call.py")
    assert strangers(files) != []


def test_one_function_has_the_steps_of_a_request_in_their_order() -> None:
    source = (PACKAGE / "gateway" / "call" / "lifecycle.py").read_text()
    in_order = [*STEPS, "settle"]  # An answer that breaks off is settled as failed.
    assert steps(source) == in_order
    swapped = source.replace("call.reserve()", "call.dispatch_()").replace("call.dispatch()", "call.reserve()")
    assert steps(swapped) != in_order
