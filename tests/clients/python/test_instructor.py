"""instructor: objects out of answers, by tools and by JSON schemas."""

import demo
import documented
import instructor
import openai
import pytest
from pydantic import BaseModel, Field

EXAMPLES = documented.blocks("instructor")
ASKED = [{"role": "user", "content": "John is 25 years old"}]
OPTIONS = {"model": demo.CHAT, "max_tokens": 128, **demo.CALM}


class User(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=demo.BASE_URL, api_key=demo.KEY), mode=mode)


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestConversation:
    def test_a_raw_answer_goes_back(self) -> None:
        bank = client(instructor.Mode.JSON_SCHEMA)
        _, answer = bank.chat.completions.create_with_completion(response_model=User, messages=ASKED, **OPTIONS)
        messages = [*ASKED, answer.choices[0].message.model_dump(), {"role": "user", "content": "Jane is 30."}]
        assert isinstance(bank.chat.completions.create(response_model=User, messages=messages, **OPTIONS), User)


class TestTools:
    @pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT])
    def test_a_call_is_an_object_of_the_class(self, mode: instructor.Mode) -> None:
        told = client(mode).chat.completions.create(response_model=User, messages=ASKED, **OPTIONS)
        assert isinstance(told, User)


class TestStructuredOutput:
    def test_an_answer_is_an_object_of_the_class(self) -> None:
        bank = client(instructor.Mode.JSON_SCHEMA)
        assert isinstance(bank.chat.completions.create(response_model=User, messages=ASKED, **OPTIONS), User)

    def test_a_failed_check_asks_again_with_the_reason(self) -> None:
        asked: list[int] = []

        class Checked(User):
            def model_post_init(self, context: object) -> None:
                asked.append(self.age)
                if len(asked) == 1:
                    raise ValueError("say it again")

        bank = client(instructor.Mode.TOOLS)
        told = bank.chat.completions.create(response_model=Checked, messages=ASKED, max_retries=2, **OPTIONS)
        assert isinstance(told, Checked)
        assert len(asked) == 2


class TestStreaming:
    @pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
    def test_an_object_grows_to_the_whole(self, mode: instructor.Mode) -> None:
        parts = list(client(mode).chat.completions.create_partial(response_model=User, messages=ASKED, **OPTIONS))
        assert parts[-1].age is not None
        assert parts[-1].name is not None
