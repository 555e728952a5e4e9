"""Errors of a policy."""

from finpool.kernel.errors import ConfigurationError


class PolicyInvalid(ConfigurationError):
    """The policy cannot be put in force; the message names the wrong row or the wrong golden decision."""
