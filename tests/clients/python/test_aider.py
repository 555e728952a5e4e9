"""aider, the assistant that edits programs, by its command and by its Python interface."""

import json
from pathlib import Path

import demo
import documented
import pytest
from aider.coders import Coder
from aider.io import InputOutput
from aider.models import Model, register_litellm_models

(EXAMPLE,) = documented.blocks("aider", "sh")


@pytest.fixture
def coder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coder:
    monkeypatch.setenv("OPENAI_API_BASE", demo.BASE_URL)
    monkeypatch.setenv("OPENAI_API_KEY", demo.KEY)
    monkeypatch.chdir(tmp_path)
    name = f"openai/{demo.CHAT}"
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({name: {"max_input_tokens": 2048, "max_output_tokens": 1024}}))
    register_litellm_models([str(metadata)])
    model = Model(name)
    model.extra_params = {"max_tokens": 64}
    return Coder.create(main_model=model, io=InputOutput(yes=True), edit_format="ask", use_git=False, map_tokens=0)


class TestExample:
    def test_the_documented_example_prints_an_answer_and_its_tokens(self, tmp_path: Path) -> None:
        assert "Tokens:" in documented.said(EXAMPLE, tmp_path)


class TestConversation:
    def test_earlier_turns_go_back(self, coder: Coder) -> None:
        first = coder.run("What is a bank?")
        sent = coder.total_tokens_sent
        assert first
        assert coder.run("And a lease?")
        assert coder.total_tokens_sent > 2 * sent


class TestStreaming:
    @pytest.mark.parametrize("stream", [True, False])
    def test_an_answer_comes_streamed_or_whole(self, coder: Coder, stream: bool) -> None:
        coder.stream = stream
        assert coder.run("What is a bank?")
        assert coder.total_tokens_received > 0
