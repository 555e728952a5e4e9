"""The freshness of the audit log, as every door tells it."""

from pydantic import BaseModel, Field


class LogFreshnessView(BaseModel):
    """How fresh the log is. Ages are in seconds, None without such an event or entry.

    `is_fresh` is false while an event waits longer than `waiting_seconds_max`, or while one is in quarantine that no
    operator has reviewed. A bank sees its own events only.
    """

    is_fresh: bool
    oldest_waiting_seconds: float | None = Field(description="Age of the oldest event that is not in the log yet.")
    last_entry_seconds: float | None = Field(description="Age of the event of the newest entry.")
    quarantined: int = Field(description="Events that the log could not take, not reviewed yet.")
    waiting_seconds_max: float

    @property
    def ages(self) -> str:
        """The ages in words."""
        if self.oldest_waiting_seconds is None:
            waiting = "no event waits"
        else:
            waiting = f"the oldest event waits for {self.oldest_waiting_seconds:.1f} s"
        if self.last_entry_seconds is None:
            return f"{waiting}, and there is no entry yet"
        return f"{waiting}, the last entry is of an event {self.last_entry_seconds:.0f} s ago"

    @property
    def faults(self) -> list[str]:
        """The faults of the log, each in one line."""
        found = []
        if self.oldest_waiting_seconds is not None and self.oldest_waiting_seconds > self.waiting_seconds_max:
            found.append(
                f"the audit log is stale: an event waits for {self.oldest_waiting_seconds:.0f} s to enter it,"
                f" {self.waiting_seconds_max:g} s are allowed; look at the worker and its log"
            )
        if self.quarantined:
            found.append(
                f"{self.quarantined} events could not enter the audit log: `finpool audit quarantine` shows them"
            )
        return found
