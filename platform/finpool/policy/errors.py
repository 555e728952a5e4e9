"""What can be wrong with a policy."""

from finpool.kernel.errors import ConfigurationError


class PolicyInvalid(ConfigurationError):
    """A policy cannot be put in force; the message says which row or which golden decision is wrong."""
