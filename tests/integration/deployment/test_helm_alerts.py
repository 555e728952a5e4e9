"""The chart's alerts on the audit log: off unless asked for, and with the bound that the doors use."""

from collections.abc import Callable
from typing import Any

from source_files import ROOT

Render = Callable[..., list[dict[str, Any]]]


def rules(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """Return the expression of each alert."""
    found = [each for each in manifests if each["kind"] == "PrometheusRule"]
    return {
        rule["alert"]: rule["expr"] for each in found for group in each["spec"]["groups"] for rule in group["rules"]
    }


def test_alerts_are_installed_only_if_asked_for(render: Render) -> None:
    assert rules(render()) == {}
    assert set(rules(render({"telemetry": {"alerts": True}}))) == {
        "FinPoolAuditLogStale",
        "FinPoolAuditEventQuarantined",
        "FinPoolAuditLogUnknown",
    }


def test_the_log_is_stale_for_the_alert_as_soon_as_it_is_for_the_doors(render: Render) -> None:
    changes = {"telemetry": {"alerts": True}, "settings": {"audit_waiting_seconds_max": 90}}
    assert rules(render(changes))["FinPoolAuditLogStale"].endswith("> 90")


def test_each_alert_asks_for_a_metric_that_the_code_exports(render: Render) -> None:
    exported = (ROOT / "platform/finpool/kernel/telemetry.py").read_text()
    for expression in rules(render({"telemetry": {"alerts": True}})).values():
        assert expression.partition("(")[2].partition(")")[0] in exported
