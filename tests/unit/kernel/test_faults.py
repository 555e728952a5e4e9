"""A fault of a validation says what is wrong, without words for programmers."""

from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from finpool.kernel.faults import words_of
from finpool.kernel.names import plain_name


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, AfterValidator(plain_name)]
    start: int = 0
    end: int = 1

    @model_validator(mode="after")
    def _in_order(self) -> "Body":
        if self.start > self.end:
            raise ValueError("start is after end")
        return self


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a\u200db"}, "must not hold U+200D (ZERO WIDTH JOINER) where it joins or parts no letters"),
        ({"name": "a", "start": 2}, "start is after end"),
        ({"name": "a", "colour": 1}, "is not known here: leave it out"),
        ({}, "Field required"),
    ],
)
def test_the_words_are_those_of_the_check(body: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate(body)
    assert [words_of(each) for each in refused.value.errors()] == [words]
