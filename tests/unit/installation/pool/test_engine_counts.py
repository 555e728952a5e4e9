"""Engine counts are summed by model over its versions, and read once the engines are ready."""

from pathlib import Path

import pytest

from finpool.installation.pool.engine_counts import differences, engine_counts, usage_by_engine
from finpool.installation.pool.engines_file import write_engines
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings
from finpool.serving.counters import Counters, counts_file
from finpool.serving.pool.schemas import PoolState

STATE = PoolState({"fin-7b": ["/engines/fin-7b/1", "/engines/fin-7b/2"], "other": ["/engines/other/1"]})


def group(model_id: str, input_tokens: int, output_tokens: int) -> dict[str, object]:
    return {"model_id": model_id, "input_tokens": input_tokens, "output_tokens": output_tokens}


def test_a_model_is_counted_over_all_its_versions(tmp_path: Path) -> None:
    write_engines(tmp_path, STATE)
    for engine_key, tokens in (("fin-7b_1", 3), ("fin-7b_2", 40), ("other_1", 500)):
        Counters(input_tokens=tokens, output_tokens=tokens + 1).keep_in(counts_file(tmp_path, engine_key))
    assert engine_counts(Settings(home=tmp_path)) == {
        "fin-7b": {"input_tokens": 43, "output_tokens": 45},
        "other": {"input_tokens": 500, "output_tokens": 501},
    }


def test_engines_that_are_not_ready_are_not_counted(tmp_path: Path) -> None:
    write_engines(tmp_path, STATE)
    write_engines(tmp_path, None)
    with pytest.raises(ConfigurationError, match="the engines are not ready"):
        engine_counts(Settings(home=tmp_path))


def test_usage_counts_for_the_model_whose_engine_served_it() -> None:
    groups = [group("fin-7b", 10, 1), group("fin-7b", 20, 2), group("an-adapter", 300, 30), group("removed", 7, 7)]
    assert usage_by_engine(groups, {"fin-7b": "fin-7b", "an-adapter": "fin-7b"}) == {
        "fin-7b": {"input_tokens": 330, "output_tokens": 33},
        "removed": {"input_tokens": 7, "output_tokens": 7},
    }


def test_only_counts_that_differ_are_named_and_a_missing_model_counts_as_zero() -> None:
    counted = {"fin-7b": {"input_tokens": 10, "output_tokens": 3}}
    used = {"fin-7b": {"input_tokens": 10, "output_tokens": 2}, "other": {"input_tokens": 5, "output_tokens": 0}}
    found = [(each["subject"], each["left_value"], each["right_value"]) for each in differences(counted, used)]
    assert found == [("model fin-7b: output_tokens", "3", "2"), ("model other: input_tokens", "0", "5")]
