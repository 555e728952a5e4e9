"""Errors of the spool, which stop all serving, and of corrections."""

from finpool.kernel.errors import InvalidRequest, NotFound, Unavailable


class SpoolUnavailable(Unavailable):
    """The spool is full or cannot be written; a request that cannot be recorded is not served."""

    code = "spool_unavailable"


class SpoolLocked(Exception):
    """Another process holds the lock of this spool."""


class SpoolUnusable(Exception):
    """The spool's file cannot be opened, because its volume is read-only, full or missing; the file stays unchanged."""


class SpoolCorrupt(SpoolUnusable):
    """The spool on disk cannot be read; the file stays unchanged."""


class SpoolNotFound(Exception):
    """The directory holds no spool."""


class RecordDamaged(Exception):
    """A record of the spool cannot be decoded; it blocks the records behind it until an operator decides."""

    def __init__(self, seq: int, fault: str) -> None:
        super().__init__(
            f"record {seq} of the spool cannot be decoded ({fault}): `finpool spool export` gives it as it is,"
            f" `finpool spool set-aside {seq}` takes it out of the way"
        )
        self.seq = seq


class UsageNotFound(NotFound):
    """The tenant has no usage record of that request."""

    code = "usage_not_found"


class CorrectionRefused(InvalidRequest):
    """This usage record cannot be corrected."""

    code = "correction_refused"


class SpoolAlive(InvalidRequest):
    """The spool is still in use, so it is not lost; its replica returns the leases itself."""

    code = "spool_alive"

    def __init__(self, spool_id: str) -> None:
        super().__init__(f"The spool {spool_id} was served with within the last two minutes; it is not lost.")
