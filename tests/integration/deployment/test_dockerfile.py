"""The image recipe: three locked, rootless targets that name no package index and fetch nothing by URL."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LOCKS = {"app": "run", "engine": "engines", "engine-vllm": "engines-vllm"}
TARGETS = list(LOCKS)


@dataclass
class Stage:
    """One `FROM ... AS name` and its instructions as (keyword, rest) pairs."""

    name: str
    parent: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for found, rest in self.steps if found == keyword]


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "platform" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def stages(text: str) -> dict[str, Stage]:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in filter(None, map(str.strip, code.splitlines())):
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            parent, _, name = rest.split()
            current = found[name] = Stage(name, parent)
        elif current is not None:
            current.steps.append((keyword, rest))
        else:
            assert keyword == "ARG"
    return found


def test_every_target_starts_from_the_base_image_the_builder_names(stages: dict[str, Stage], text: str) -> None:
    assert set(TARGETS) <= set(stages)
    roots = [stage for stage in stages.values() if stage.parent not in stages]
    assert [stage.parent for stage in roots] == ["${PYTHON_IMAGE}"]
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.1[12]-slim$", text, re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    """Return the version that a lock names for each package, for any Python."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ]+)", path.read_text(), re.MULTILINE))


def test_the_base_has_the_python_that_vllm_is_locked_for(text: str, repository: Path) -> None:
    locking = (repository / "Makefile").read_text().replace("\\\n", "")
    python = re.search(r"--python-version (\S+)[^\n]*engines-vllm\.txt", locking)
    assert python is not None
    assert f"ARG PYTHON_IMAGE=python:{python.group(1)}-slim" in text


def test_all_engines_have_one_ray_and_what_the_gpu_tests_ran_with(repository: Path) -> None:
    locks = {name: pins(repository / "requirements" / f"{name}.txt") for name in (*LOCKS.values(), "vllm-cuda")}
    assert len({lock["ray"] for lock in locks.values()}) == 1
    image, tested = locks["engines-vllm"], locks["vllm-cuda"]
    assert image["vllm"] == tested["vllm"]
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {
        "xllamacpp": locks["engines"]["xllamacpp"]
    }
    assert not {"pytest", "mypy", "ruff"} & set(image)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_without_root(stages: dict[str, Stage], target: str) -> None:
    assert stages[target].all("USER")[-1:] == ["65532:65532"]
    assert [keyword for keyword, _ in stages[target].steps][-2:] == ["USER", "ENTRYPOINT"]


@pytest.mark.parametrize(("target", "lock"), LOCKS.items())
def test_a_target_holds_exactly_its_locked_requirements(stages: dict[str, Stage], target: str, lock: str) -> None:
    packages = stages[f"{target}-packages"]
    assert packages.all("COPY") == [f"requirements/{lock}.txt /requirements.txt"]
    (install,) = [step for step in packages.all("RUN") if " install " in step]
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "-r /requirements.txt"):
        assert option in install
    assert f"--from={target}-packages /opt/finpool /opt/finpool" in stages[target].all("COPY")


def test_packages_are_installed_nowhere_else(stages: dict[str, Stage]) -> None:
    installing = {name for name, stage in stages.items() for step in stage.all("RUN") if "pip" in step}
    assert installing == {f"{target}-packages" for target in TARGETS}


def test_nothing_is_fetched_by_url_and_no_index_is_named(stages: dict[str, Stage]) -> None:
    for stage in stages.values():
        assert stage.all("ADD") == []
        for keyword, rest in stage.steps:
            assert "://" not in rest, f"{stage.name}: {keyword} {rest}"
            assert not re.search(r"--(extra-)?index-url|--trusted-host|curl|wget", rest)


def test_credentials_of_an_index_stay_out_of_the_image(stages: dict[str, Stage]) -> None:
    for stage in stages.values():
        assert not [rest for rest in (*stage.all("ARG"), *stage.all("ENV")) if re.search("TOKEN|PASSWORD|INDEX", rest)]
    for target in TARGETS:
        assert stages[f"{target}-packages"].all("RUN")[0].startswith("--mount=type=secret,id=pip,target=/etc/pip.conf")


def test_a_build_sees_only_what_it_copies(repository: Path, stages: dict[str, Stage]) -> None:
    ignored = (repository / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        step.split()[0].split("/")[0] for stage in stages.values() for step in stage.all("COPY") if "--from" not in step
    }
    assert copied == sent


def test_the_code_lies_in_the_image_as_in_the_repository(stages: dict[str, Stage]) -> None:
    assert stages["source"].all("COPY") == [
        "platform/finpool /opt/finpool-source/finpool", "platform/migrations /opt/finpool-source/migrations",
    ]  # fmt: skip
