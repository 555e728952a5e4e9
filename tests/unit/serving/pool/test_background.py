"""How far a background model is, in one line, until it serves."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pooling_models import pooling_declaration

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.version.schemas import ModelLife, Routing, Version, VersionState
from finpool.serving.pool.background import stages

AT = datetime(2026, 1, 1, tzinfo=UTC)


def model(*, background: bool = True) -> Model:
    return Model.model_validate(pooling_declaration("m", "embedding", background=background))


def life(state: VersionState, fault: str | None = None) -> ModelLife:
    unused: dict[str, Any] = dict.fromkeys(("licence_accepted_by", "licence_accepted_at", "progress", "measurements"))
    version = Version(
        model_id="m",
        version="1",
        declaration={},
        weights_sha256="0" * 64,
        licence="MIT",
        state=state,
        fault=fault,
        proposed_by="declaration",
        proposed_at=AT,
        changed_at=AT,
        **unused,
    )
    return ModelLife.of([version], [Routing("m", 1, {"1": 10_000}, "declaration", AT)])


@pytest.mark.parametrize(
    ("state", "fault", "stage"),
    [
        (VersionState.DOWNLOADING, None, "downloading"),
        (VersionState.DOWNLOADING, "no index answers", "downloading: no index answers"),
        (VersionState.TESTING, None, "testing"),
        (VersionState.PROPOSED, "it does not fit", "proposed: it does not fit"),
        (VersionState.SERVING, None, "starting"),
    ],
)
def test_it_is_named_until_its_engine_is_up(state: VersionState, fault: str | None, stage: str) -> None:
    assert stages([model()], {"m": life(state, fault)}, set()) == {"m": stage}


def test_it_is_not_named_once_it_serves_nor_if_it_is_waited_for() -> None:
    serving = {"m": life(VersionState.SERVING)}
    assert stages([model()], serving, {("m", "1")}) == {}
    assert stages([model(background=False)], {"m": life(VersionState.DOWNLOADING)}, set()) == {}


def test_a_model_that_the_database_does_not_know_yet_is_not_named() -> None:
    assert stages([model()], {}, set()) == {}
