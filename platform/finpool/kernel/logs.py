"""Structured logs: one JSON object per line, on standard output."""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from finpool.kernel.log_output import LogOutput, LogRotation
from finpool.kernel.log_samples import SampledRecords

request_ids: ContextVar[Mapping[str, str | None]] = ContextVar("request_ids")
"""The ids of the request that the running task serves. Each log line of the task carries them."""


def configure_logs(level: str, service: str, rotation: LogRotation | None = None) -> None:
    """Send the logs of this process and its libraries to standard output as JSON; `service` names the process.

    Callers log ids and counts only, never prompts, answers or secrets.
    """
    output = cast(TextIO, LogOutput(service, rotation))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(output)
    handler.addFilter(SampledRecords())
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


def _add_request_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**request_ids.get({}), **event}


def logger(name: str) -> FilteringBoundLogger:
    """Return a logger whose events carry `source=name`."""
    bound: FilteringBoundLogger = structlog.get_logger(source=name)
    return bound
