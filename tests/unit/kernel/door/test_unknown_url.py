"""The refusal of an unknown path names the reason and the paths that exist."""

from finpool.kernel.door.unknown_url import NAMED_MAX, SHOWN_LENGTH_MAX, unknown_url

SERVED = {"/v1/models", "/v1/chat/completions"}
ABSENT = {"/v1/images": "no images", "/v1/images/edits": "no edits"}
MANY = {f"/v1/tenants/{{tenant_id}}/things-{number}" for number in range(NAMED_MAX)} | SERVED


def test_all_paths_of_a_small_door_are_named() -> None:
    assert unknown_url("GET", "/v1/nothing", SERVED, ABSENT).message == (
        "Unknown request URL: GET /v1/nothing. This API has /v1/chat/completions, /v1/models."
    )


def test_a_path_that_clients_know_from_elsewhere_is_refused_with_the_reason() -> None:
    assert "It is not served: no images." in unknown_url("POST", "/v1/images/generations", SERVED, ABSENT).message
    assert "It is not served: no edits." in unknown_url("POST", "/v1/images/edits", SERVED, ABSENT).message
    assert "not served" not in unknown_url("POST", "/v1/images-of-mine", SERVED, ABSENT).message


def test_the_nearest_paths_of_a_large_door_are_named() -> None:
    message = unknown_url("POST", "/v1/chat/completion", MANY, {}).message
    assert message.startswith("Unknown request URL: POST /v1/chat/completion. The nearest paths are /v1/chat/comp")
    assert unknown_url("GET", "/?", MANY, {}).message == "Unknown request URL: GET /?."


def test_a_long_path_is_cut() -> None:
    assert len(unknown_url("GET", "/" + "x" * 60_000, SERVED, {}).message) < SHOWN_LENGTH_MAX + 100
