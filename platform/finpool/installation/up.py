"""`finpool up`: start the missing parts of the platform until a model has answered a demo bank."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from finpool.apps.migrate import migrate
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.declared.reconcile import ApiPlatform, reconcile
from finpool.installation.demo.demo import Demo
from finpool.installation.doctor.doctor import examine
from finpool.installation.home.home import Home, exclusive
from finpool.installation.home.secret_files import DATABASE_ROLES, SECRET_NAMES, ensure_secret
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.postgres import start_postgres
from finpool.installation.process.components import (
    DOORS,
    POOL,
    START_ORDER,
    Component,
    component_environment,
)
from finpool.installation.process.processes import running_process, start_process
from finpool.installation.process.readiness import door_answers, engines_answer, wait_until
from finpool.installation.progress import Note, Progress
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

DOORS_READY_SECONDS = 120.0
POOL_READY_SECONDS = 900.0
"""vLLM needs minutes on a small machine; an engine that cannot start ends, and `up` reports that at once."""

COMPLETION_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Started:
    """The result of `up`: addresses, the path of the demo's credentials, and the first answer.

    `background` says of each background model that does not serve yet how far it is.
    """

    base_url: str
    operator_url: str
    regulator_url: str
    demo_env: str
    model_id: str
    answer: str
    background: dict[str, str]


def up(settings: Settings, tenants_dir: Path, progress: Progress) -> Started:
    """Start the missing parts step by step, and return once a model has answered a demo bank.

    Every step may run again. Raises `ConfigurationError` (or another expected error) with advice; started processes
    keep running.
    """
    home = Home(settings.home)
    try:
        home.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{home.root} cannot be made ({error.strerror}): set FINPOOL_HOME to another path"
        ) from error
    with exclusive(home):
        with progress.step("Checking this machine"):
            _refuse_if_unfit(settings)
        home.prepare()
        return _Start(settings, home, progress).run(tenants_dir)


def _refuse_if_unfit(settings: Settings) -> None:
    failed = [check for check in examine(settings) if not check.ok]
    if failed:
        raise ConfigurationError("\n".join(f"{check.name}: {check.detail}" for check in failed))


class _Start:
    def __init__(self, settings: Settings, home: Home, progress: Progress) -> None:
        self._settings = settings
        self._home = home
        self._progress = progress
        self._models = Catalogue.load(settings.catalogue_dir or default_directory()).on_pool()

    def run(self, tenants_dir: Path) -> Started:
        step = self._progress.step
        for name in SECRET_NAMES:
            ensure_secret(self._settings.secrets_path, name)
        with step("Model weights") as note:
            for model in (each for each in self._models if not each.background):
                ensure_weights(model, self._settings, note)
        with step("Database"):
            urls = self._database_urls()
            migrate(self._settings.model_copy(update=_url_fields(urls)))
        # The pool starts slowest, so it starts first and the other processes start meanwhile.
        with step("Doors for banks, operators and regulators"):
            for component in START_ORDER:
                self._start(component, urls)
            wait_until("a door", self._doors_ready, self._home, START_ORDER, DOORS_READY_SECONDS)
        with step("Demo banks") as note:
            demo = self._demo(urls["owner"], tenants_dir, note)
        with step("Model on Ray Serve"):
            wait_until("the model", self._models_ready, self._home, (POOL,), POOL_READY_SECONDS)
        with step("First completion"):
            model_id, answer = demo.complete(COMPLETION_SECONDS)
        published = read_engines(self._settings.home)
        return Started(
            base_url=demo.values["FINPOOL_BASE_URL"],
            operator_url=demo.values["FINPOOL_OPERATOR_URL"],
            regulator_url=demo.values["FINPOOL_REGULATOR_URL"],
            demo_env=str(self._home.demo_env),
            model_id=model_id,
            answer=answer,
            background={} if published is None else published.background,
        )

    def _database_urls(self) -> Mapping[str, str]:
        """Return one URL for each role: the configured ones, or those of the embedded Postgres."""
        if self._settings.owner_database_url is not None:
            return {role: self._settings.database_url(role) for role in DATABASE_ROLES}
        return start_postgres(self._home.root).urls

    def _start(self, component: Component, urls: Mapping[str, str]) -> None:
        if running_process(self._home, component.name) is not None:
            return
        environment = component_environment(component, self._settings, urls)
        port = component.port(self._settings)
        start_process(self._home, component.name, component.command(), environment, port)

    def _doors_ready(self) -> bool:
        return all(door_answers(self._settings, door) for door in DOORS)

    def _models_ready(self) -> bool:
        return engines_answer(self._settings)

    def _demo(self, owner_url: str, tenants_dir: Path, note: Note) -> Demo:
        demo = Demo(self._settings, self._home)
        demo.ensure_tokens(owner_url)
        changes = reconcile(ApiPlatform(demo.operator), tenants_dir, lambda _: None)
        note(f"{len(changes)} changes applied" if changes else "no changes")
        demo.ensure_keys()
        return demo


def _url_fields(urls: Mapping[str, str]) -> dict[str, object]:
    return {f"{role}_database_url": SecretStr(url) for role, url in urls.items()}
