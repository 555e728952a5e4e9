"""`llm`, the command line for models."""

import json
from pathlib import Path

import documented
import pytest

(EXAMPLE,) = documented.blocks("llm", "sh")
CALM = "-o temperature 0 -o frequency_penalty 1 -o max_tokens 96"
FUNCTION = """def weather(city: str) -> str:
    "Say the weather of a place."
    return "It is sunny in " + city"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the documented example has set up the model."""
    folder = tmp_path_factory.mktemp("llm")
    (folder / "printed").write_text(documented.said(EXAMPLE, folder), encoding="utf-8")
    return folder


class TestExample:
    def test_the_documented_example_prints_an_answer(self, home: Path) -> None:
        assert (home / "printed").read_text(encoding="utf-8").strip()


class TestConversation:
    def test_a_conversation_goes_on(self, home: Path) -> None:
        assert documented.said(f"llm -m bank 'What is a bank?' {CALM}", home).strip()
        assert documented.said(f"llm -c 'And a lease?' {CALM}", home).strip()
        turns = json.loads(documented.said("llm logs -c --json", home))
        assert len(turns) == 2


class TestTools:
    def test_a_model_that_may_choose_answers(self, home: Path) -> None:
        asked = f"llm -m bank --functions '{FUNCTION}' 'What is the weather in Paris?' --chain-limit 3 {CALM}"
        assert documented.said(asked, home).strip()


class TestStructuredOutput:
    def test_an_answer_has_the_properties_of_the_schema(self, home: Path) -> None:
        said = documented.said(f"llm -m bank --schema 'name, age int' 'Invent a dog.' {CALM}", home)
        dog = json.loads(said)
        assert dog.keys() == {"name", "age"}
        assert isinstance(dog["age"], int)


class TestStreaming:
    def test_a_stream_and_a_whole_answer_are_logged_with_usage(self, home: Path) -> None:
        for option in ("", "--no-stream"):
            assert documented.said(f"llm -m bank {option} 'What is a bank?' {CALM}", home).strip()
            (turn,) = json.loads(documented.said("llm logs -n 1 --json", home))
            assert turn["output_tokens"] > 0
