"""Why usage cannot be recorded, and so nothing may be served; and why a correction of it is refused."""

from finpool.kernel.errors import InvalidRequest, NotFound, Unavailable


class SpoolUnavailable(Unavailable):
    """The spool cannot be written or is full: what cannot be put on record is not served."""

    code = "spool_unavailable"


class SpoolLocked(Exception):
    """Another process works with this spool."""


class SpoolUnusable(Exception):
    """The spool's file cannot be opened: a volume that is read-only, full or gone; what is there is kept as it is."""


class SpoolCorrupt(SpoolUnusable):
    """The spool on disk cannot be read; what is there is kept as it is."""


class SpoolNotFound(Exception):
    """There is no spool where one was looked for."""


class RecordDamaged(Exception):
    """One record of the spool cannot be decoded; it holds up those behind it until an operator decides."""

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
    """The record is not one that a correction can be made of."""

    code = "correction_refused"


class SpoolAlive(InvalidRequest):
    """A spool that an operator gives up is being served with: its replica returns its leases itself."""

    code = "spool_alive"

    def __init__(self, spool_id: str) -> None:
        super().__init__(f"The spool {spool_id} was served with within the last two minutes; it is not lost.")
