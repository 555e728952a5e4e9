"""The documentation names every setting, metric, command, option and exit code, and nothing that does not exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

from finpool.cli.main import app
from finpool.client.errors import ExitCode
from finpool.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def settings_rows() -> Iterator[str]:
    """Yield the rows that docs/settings.md must hold, in order."""
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined, f"{name} has no default"
        default = "not set" if field.default is None else f"`{field.default}`"
        yield f"| `FINPOOL_{name.upper()}` | {default} | {field.description} |"


def test_every_setting_is_documented_as_the_code_describes_it() -> None:
    written = [line for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("| `")]
    expected = list(settings_rows())
    assert written == expected, "docs/settings.md must hold exactly these rows:\n" + "\n".join(expected)


def commands(group: Any, prefix: str = "finpool") -> Iterator[tuple[str, Any]]:
    """Yield each command's full name and itself."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def sections(text: str) -> dict[str, str]:
    """Return the text under each third-level heading that is a command."""
    parts = re.split(r"^### `(finpool [a-z -]+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_and_option_is_documented() -> None:
    documented = sections((DOCS / "cli.md").read_text())
    existing = dict(commands(typer.main.get_command(app)))
    assert sorted(documented) == sorted(existing)
    missing = [
        f"{name} {option}"
        for name, command in existing.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help" and f"`{option}" not in documented[name]
    ]
    # --json is the same for every command, so it is documented once, above them.
    assert [each for each in missing if not each.endswith(" --json")] == []


def test_every_option_that_is_documented_exists() -> None:
    documented = sections((DOCS / "cli.md").read_text())
    for name, command in commands(typer.main.get_command(app)):
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"`(--[a-z-]+)", documented[name])) <= options, name


def test_every_command_but_serve_prints_json_when_asked() -> None:
    without = [
        name
        for name, command in commands(typer.main.get_command(app))
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert without == ["finpool serve"]


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)
    assert rows == [str(int(code)) for code in ExitCode]


def test_every_make_target_that_the_makefile_offers_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    explained = re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)
    assert sorted(explained) == sorted(phony[1].split())


def test_every_test_that_a_guarantee_names_exists() -> None:
    named = re.findall(
        r"`([\w/]+\.py)::(\w+)`", "".join((DOCS / name).read_text() for name in ("guarantees.md", "isolation.md"))
    )
    assert len(named) >= 22
    for path, name in named:
        assert re.search(rf"def {name}\(", (ROOT / "tests" / path).read_text()), f"{path}::{name}"


def test_every_metric_is_explained_to_operators() -> None:
    exported = re.findall(r'"(finpool_\w+)"', (ROOT / "platform" / "finpool" / "kernel" / "telemetry.py").read_text())
    assert len(exported) >= 5
    assert [name for name in exported if f"`{name}`" not in (DOCS / "operator.md").read_text()] == []
