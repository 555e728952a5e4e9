"""The processes of one machine: each has its own databases and its own port."""

import pytest

from finpool.installation.process.components import DOORS, INFERENCE, POOL, START_ORDER, WORKER, component_environment
from finpool.kernel.settings import Settings


def test_each_process_gets_its_own_database_roles_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {
        role: f"postgresql://{role}"
        for role in ("owner", "inference", "tenant", "operator", "regulator", "worker", "pool")
    }
    monkeypatch.setenv("FINPOOL_OWNER_DATABASE_URL", "postgresql://from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for us")
    given = {
        component.name: {
            name.removeprefix("FINPOOL_").removesuffix("_DATABASE_URL").lower()
            for name in component_environment(component, Settings(), urls)
            if name.endswith("_DATABASE_URL")
        }
        for component in START_ORDER
    }
    assert given == {
        "pool": {"pool"},
        "worker": {"worker"},
        "inference": {"inference", "tenant"},
        "operator": {"operator"},
        "regulator": {"regulator"},
    }
    assert "AWS_SECRET_ACCESS_KEY" not in component_environment(INFERENCE, Settings(), urls)


def test_the_ports_are_those_the_settings_promise() -> None:
    settings = Settings(port=9000)
    assert [door.port(settings) for door in DOORS] == [9000, 9001, 9002]
    assert (POOL.port(settings), WORKER.port(settings)) == (9010, None)
