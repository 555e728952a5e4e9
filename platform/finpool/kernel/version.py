"""The version of FinPool. Only this file sets it for the package; docs/releasing.md lists the files that follow."""

VERSION = "0.1.0"
