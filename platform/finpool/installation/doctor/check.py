"""What one check of `finpool doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `detail` says what is the case and, when `ok` is false, what to do about it."""

    name: str
    ok: bool
    detail: str
