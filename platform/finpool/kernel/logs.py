"""Structured logs: one JSON object per line, on standard output."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger


class _Output:
    """Standard output that ignores write errors: a full disk costs the log line, but never the request."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return sys.stdout.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


def configure_logs(level: str, service: str) -> None:
    """Send the logs of this process and its libraries to standard output as JSON; `service` names the process.

    Callers log ids and counts only, never prompts, answers or secrets.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Output())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(cast(TextIO, _Output()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level)))


def logger(name: str) -> FilteringBoundLogger:
    """Return a logger whose events carry `source=name`."""
    bound: FilteringBoundLogger = structlog.get_logger(source=name)
    return bound
