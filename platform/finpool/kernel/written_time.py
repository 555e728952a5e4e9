"""Times in request bodies: text in ISO 8601 with a zone, and nothing else."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

_WRITTEN = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _written(value: object) -> object:
    """Refuse numbers: pydantic would take them as seconds or, if they are large, as milliseconds."""
    if value is None or isinstance(value, datetime) or (isinstance(value, str) and _WRITTEN.fullmatch(value)):
        return value
    raise ValueError("must be a time with its zone, such as 2026-01-31T08:00:00Z")


WrittenTime = Annotated[AwareDatetime, BeforeValidator(_written)]
"""An aware time, which a client writes as text."""
