"""The version of FinPool. Only this file names it for the package; docs/releasing.md says what follows it."""

VERSION = "0.1.0"
