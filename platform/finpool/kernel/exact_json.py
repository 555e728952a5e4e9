"""Exact amounts in JSON."""

from typing import Annotated

from pydantic import PlainSerializer

ExactPicos = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]
"""Picos as a JSON string, because they exceed the integers that JSON clients read exactly."""
