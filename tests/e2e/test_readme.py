"""Every command of README.md is run as it stands, in order, and gives the promised output."""

import json
import re
from collections.abc import Callable
from typing import Any

from readme_transcript import (
    BIN,
    LONGER_SUITES,
    MAKE_RUNS_HERE,
    README,
    ROOT,
    WITHIN_THEMSELVES,
    Transcript,
    blocks,
)


def totals(usage: dict[str, Any], requests: str = "requests") -> tuple[int, int, int]:
    """Return requests, input tokens and output tokens of one group of one view."""
    return usage[requests], usage["input_tokens"], usage["output_tokens"]


def test_the_readme_holds_no_block_that_is_neither_run_nor_known_to_be_no_command() -> None:
    assert {language for language, _ in blocks()} == {"sh", "python", "text", "mermaid"}


def test_ci_runs_the_two_commands_that_cannot_run_here_and_the_longer_suites() -> None:
    for command in WITHIN_THEMSELVES:
        assert re.search(rf"^{command}$|`{command}`", README, flags=re.MULTILINE)
    ran = re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert sorted(line.removesuffix(" || status=1") for line in ran) == sorted((*WITHIN_THEMSELVES, *LONGER_SUITES))


def test_make_up_ends_with_an_answer_and_how_to_call_it(
    transcript: Transcript, record_property: Callable[[str, object], None]
) -> None:
    if not MAKE_RUNS_HERE:
        record_property("not_done_here", f"`finpool up` ran instead of `make up`: {BIN} is not .venv/bin")
    said = transcript.output("make up")
    assert re.search(r"FinPool is up\. \S+ answered bank A: \S", said)
    for promised in ("banks  ", "operators  ", "regulators  ", "demo keys  ", "demo.env"):
        assert promised in said


def test_a_bank_lists_its_models(transcript: Transcript) -> None:
    listed = {model["id"]: model for model in json.loads(transcript.output("/models"))["data"]}
    assert {model_id: model["kind"] for model_id, model in listed.items()} == {
        "smollm2-135m-instruct": "general",
        "multilingual-e5-small": "embedding",
        "multilingual-e5-small-rerank": "rerank",
    }
    for model_id, model in listed.items():
        assert f'"id":"{model_id}"' in README
        assert model["price"]["version"].startswith(f"{model_id}@")


def test_the_official_client_gets_text_and_usage_whole_and_streamed(transcript: Transcript) -> None:
    plain, streamed = transcript.output("from openai import").strip().rsplit("\n", 1)
    for printed in (plain, streamed):
        text, usage = printed.split("CompletionUsage(")
        assert text.strip()
        assert int(re.findall(r"\bprompt_tokens=(\d+)", usage)[0]) > 0
        assert int(re.findall(r"\bcompletion_tokens=(\d+)", usage)[0]) > 0


def test_a_budget_too_small_is_refused_for_good_and_put_back(transcript: Transcript) -> None:
    head, body = transcript.output("/chat/completions").replace("\r", "").split("\n\n", 1)
    assert head.startswith("HTTP/1.1 429 ")
    assert "x-should-retry: false" in head.lower().splitlines()
    assert json.loads(body)["error"]["code"] == "insufficient_quota"
    assert "this month's budget of tenant bank-b" in json.loads(body)["error"]["message"]
    assert "x-ratelimit-limit-budget: 10" in head.lower().splitlines()
    assert "budget_month_micros: 10 -> 50000000" in transcript.output("finpool apply")


def test_bank_operator_and_regulator_see_the_same_numbers(transcript: Transcript) -> None:
    (bucket,) = json.loads(transcript.output("/organization/usage/completions"))["data"]
    (of_bank,) = bucket["results"]
    (of_operator,) = json.loads(transcript.output("finpool usage show"))["data"]
    (of_regulator,) = json.loads(transcript.output("FINPOOL_REGULATOR_URL/v1/usage"))["data"]
    assert (of_operator["tenant_id"], of_operator["model_id"]) == ("bank-a", "smollm2-135m-instruct")
    assert of_operator == of_regulator
    assert totals(of_bank, "num_model_requests") == totals(of_operator)
    # The call of `make up`, and the two of the official client.
    assert of_operator["requests"] == 3
    counted = [
        sum(int(number) for number in re.findall(rf"\b{name}=(\d+)", transcript.output("from openai import")))
        for name in ("prompt_tokens", "completion_tokens")
    ]
    assert of_operator["input_tokens"] > counted[0]
    assert of_operator["output_tokens"] > counted[1]


def test_the_audit_log_verifies(transcript: Transcript) -> None:
    said = transcript.output("audit verify")
    assert re.fullmatch(r"[1-9]\d* entries verified; the head is \d+:[0-9a-f]{64}\n", said)


def test_make_down_leaves_nothing_running(transcript: Transcript) -> None:
    assert transcript.steps[-1][0] == "make down"
    assert transcript.processes_left == []
    assert transcript.ports_left == []
