"""The result of one check of `finpool doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `detail` describes the state and, if `ok` is false, the action to take."""

    name: str
    ok: bool
    detail: str
