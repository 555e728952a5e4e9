"""OpenTelemetry set-up and every exported name. The GenAI conventions still change; only this file follows them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind

from finpool.kernel.clock import monotonic_seconds

END_SECONDS_MAX = 2.0

OPERATION_NAME = "gen_ai.operation.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TENANT = "finpool.tenant.id"
OUTCOME = "finpool.outcome"
BACKEND = "finpool.backend"
OLDEST_EVENT_AGE = "finpool_audit_oldest_event_age_seconds"
LAST_ENTRY_AGE = "finpool_audit_last_entry_age_seconds"
EVENTS_QUARANTINED = "finpool_audit_events_quarantined"

_tracer = trace.get_tracer("finpool")
_meter = metrics.get_meter("finpool")
tokens_total = _meter.create_counter(
    "finpool_tokens_total", unit="{token}", description="Tokens settled, by tenant, model and direction."
)
requests_total = _meter.create_counter(
    "finpool_requests_total", unit="{request}", description="Requests settled, by tenant, model and outcome."
)
idempotent_replays_total = _meter.create_counter(
    "finpool_idempotent_replays_total", unit="{request}", description="Kept answers that were sent again, by tenant."
)


@contextmanager
def exported_telemetry(service: str, otlp_endpoint: str | None) -> Iterator[None]:
    """Export traces and metrics of this process to the collector; without an endpoint every call here does nothing.

    Telemetry fails open: a collector that is down never delays a request. The end of the process exports the rest for
    at most `END_SECONDS_MAX`. A slow collector loses some of it.
    """
    if otlp_endpoint is None:
        yield
        return
    # These take a fifth of a second to import, which a process without a collector saves.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"finpool-{service}"})
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp_endpoint}/v1/traces")))
    trace.set_tracer_provider(tracing)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{otlp_endpoint}/v1/metrics"))
    measuring = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    metrics.set_meter_provider(measuring)
    try:
        yield
    finally:
        _end(tracing.shutdown, measuring.shutdown)


def _end(*exporters: Callable[[], None]) -> None:
    """Let exporters end side by side. Their threads are daemons, so the process does not wait for one that hangs.

    The exporters' own timeouts are no bound: each retries for as long as its collector is silent.
    """
    threads = [Thread(target=exporter, name="telemetry-end", daemon=True) for exporter in exporters]
    for thread in threads:
        thread.start()
    ends_at = monotonic_seconds() + END_SECONDS_MAX
    for thread in threads:
        thread.join(max(0.0, ends_at - monotonic_seconds()))


def observe_lag(read: Callable[[], tuple[int, float] | None], meter: metrics.Meter = _meter) -> None:
    """Export the recorder's lag at each collection: the number of waiting records and the oldest one's age in seconds.

    The exporter's thread calls `read`; None exports no value.
    """

    def records(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        lag = read()
        return [] if lag is None else [metrics.Observation(lag[0])]

    def age(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        lag = read()
        return [] if lag is None else [metrics.Observation(lag[1])]

    meter.create_observable_gauge(
        "finpool_spool_records_waiting", [records], unit="{record}", description="Records that wait to be recorded."
    )
    meter.create_observable_gauge(
        "finpool_spool_oldest_record_age_seconds", [age], unit="s", description="How long the oldest has waited."
    )


def observe_log(read: Callable[[], Mapping[str, float]], meter: metrics.Meter = _meter) -> None:
    """Export the freshness of the audit log at each collection; a value that `read` leaves out is not exported.

    The exporter's thread calls `read`.
    """
    for name, unit, description in (
        (OLDEST_EVENT_AGE, "s", "How long the oldest event has waited for its entry in the audit log."),
        (LAST_ENTRY_AGE, "s", "Age of the event of the newest entry of the audit log."),
        (EVENTS_QUARANTINED, "{event}", "Events that the audit log could not take, not reviewed yet."),
    ):

        def value(_: metrics.CallbackOptions, name: str = name) -> Iterable[metrics.Observation]:
            found = read().get(name)
            return [] if found is None else [metrics.Observation(found)]

        meter.create_observable_gauge(name, [value], unit=unit, description=description)


def observe_backends(read: Callable[[], Mapping[str, bool]], meter: metrics.Meter = _meter) -> None:
    """Export for each backend 1 while its circuit breaker lets requests through, and 0 while it does not.

    The exporter's thread calls `read`.
    """

    def breakers_closed(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        return [metrics.Observation(int(each), {BACKEND: backend}) for backend, each in read().items()]

    meter.create_observable_gauge(
        "finpool_backend_asked", [breakers_closed], description="1 while a backend is asked, 0 while it is left alone."
    )


def start_call_span(operation: str, model_id: str, tenant_id: str) -> Span:
    """Start the span of one model call, named by the GenAI conventions."""
    attributes = {OPERATION_NAME: operation, REQUEST_MODEL: model_id, RESPONSE_MODEL: model_id, TENANT: tenant_id}
    return _tracer.start_span(f"{operation} {model_id}", kind=SpanKind.SERVER, attributes=attributes)


def end_call_span(span: Span, outcome: str, input_tokens: int, output_tokens: int) -> None:
    """End the span with its outcome and its token counts."""
    span.set_attributes({OUTCOME: outcome, INPUT_TOKENS: input_tokens, OUTPUT_TOKENS: output_tokens})
    span.end()
