"""The writer of the doors' OpenAPI documents, without a database or an engine: `make openapi`."""

import json
import sys
import tempfile
from pathlib import Path

from fastapi import FastAPI

from finpool.apps import inference, operator, regulator, tenant
from finpool.kernel.settings import Settings

NO_DATABASE = "postgresql://localhost/none"


def doors() -> dict[str, FastAPI]:
    """Build the app of every door with made-up settings, and start none."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "key_pepper").write_text("p" * 64)
        settings = Settings(
            home=home, secrets_dir=home, inference_database_url=NO_DATABASE, tenant_database_url=NO_DATABASE
        )
        banks = inference.create_app(settings)
        return {
            "inference": banks,
            "tenant": tenant.create_app(settings, banks.state.gatekeeper),
            "operator": operator.create_app(settings),
            "regulator": regulator.create_app(settings),
        }


def rendered(app: FastAPI) -> str:
    """Return a door's document for the repository: sorted and indented, so that equal routes give equal text."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write each door's document into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, app in doors().items():
        (folder / f"{name}.json").write_text(rendered(app), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
