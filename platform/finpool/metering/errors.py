"""Why usage cannot be recorded, and so nothing may be served."""

from finpool.kernel.errors import Unavailable


class SpoolUnavailable(Unavailable):
    """The spool cannot be written or is full: what cannot be put on record is not served."""

    code = "spool_unavailable"


class SpoolLocked(Exception):
    """Another process serves with this spool."""


class SpoolCorrupt(Exception):
    """The spool on disk cannot be read; what is there is kept as it is."""
