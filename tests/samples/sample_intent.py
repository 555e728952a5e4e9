"""An intent as the gateway writes it, for every test that puts one on record."""

from finpool.metering.spool.schemas import Intent

INTENT = Intent(
    request_id="req_1",
    tenant_id="bank-a",
    project_id="main",
    key_id="key",
    model_id="m",
    weights_sha256="0" * 64,
    price_version="v",
    currency="CNY",
    input_picos=3,
    cached_input_picos=1,
    output_picos=5,
    policy_version=1,
    lease_ids=("lease",),
    streamed=False,
    started_at="2026-01-01T00:00:00+00:00",
)
