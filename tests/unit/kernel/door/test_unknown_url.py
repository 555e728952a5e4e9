"""The refusal of an unknown path names the reason and the paths that exist."""

from collections.abc import Collection, Mapping

from finpool.kernel.door.unknown_url import (
    NAMED_MAX,
    SEARCHED_LENGTH_MAX,
    SEARCHES_PER_SECOND_MAX,
    SHOWN_LENGTH_MAX,
    SearchBudget,
    unknown_url,
)
from finpool.kernel.errors import RouteNotFound

SERVED = {"/v1/models", "/v1/chat/completions"}
ABSENT = {"/v1/images": "no images", "/v1/images/edits": "no edits"}
MANY = {f"/v1/tenants/{{tenant_id}}/things-{number}" for number in range(NAMED_MAX)} | SERVED


def refusal(method: str, path: str, served: Collection[str], absent: Mapping[str, str]) -> RouteNotFound:
    return unknown_url(method, path, served, absent, SearchBudget())


def test_all_paths_of_a_small_door_are_named() -> None:
    assert refusal("GET", "/v1/nothing", SERVED, ABSENT).message == (
        "Unknown request URL: GET /v1/nothing. This API has /v1/chat/completions, /v1/models."
    )


def test_a_path_that_clients_know_from_elsewhere_is_refused_with_the_reason() -> None:
    assert "It is not served: no images." in refusal("POST", "/v1/images/generations", SERVED, ABSENT).message
    assert "It is not served: no edits." in refusal("POST", "/v1/images/edits", SERVED, ABSENT).message
    assert "not served" not in refusal("POST", "/v1/images-of-mine", SERVED, ABSENT).message


def test_the_nearest_paths_of_a_large_door_are_named() -> None:
    message = refusal("POST", "/v1/chat/completion", MANY, {}).message
    assert message.startswith("Unknown request URL: POST /v1/chat/completion. The nearest paths are /v1/chat/comp")
    assert refusal("GET", "/?", MANY, {}).message == "Unknown request URL: GET /?."


def test_a_long_path_is_cut() -> None:
    assert len(refusal("GET", "/" + "x" * 60_000, SERVED, {}).message) < SHOWN_LENGTH_MAX + 100


def test_a_flood_of_unknown_paths_is_compared_with_no_path() -> None:
    searches = SearchBudget()
    asked = [unknown_url("POST", "/v1/chat/completion", MANY, {}, searches).message for _ in range(1_000)]
    searched = [message for message in asked if "nearest" in message]
    # The thousand requests may fall into two seconds.
    assert SEARCHES_PER_SECOND_MAX <= len(searched) <= 2 * SEARCHES_PER_SECOND_MAX


def test_a_long_path_is_compared_with_no_path() -> None:
    assert "nearest" not in refusal("GET", "/v1/models".ljust(SEARCHED_LENGTH_MAX + 1, "s"), MANY, {}).message
