"""How the chart runs each process: order, draining, the spool, the doors and the models."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from chart_manifests import environment
from source_files import ROOT

from finpool.catalogue.model.engine import LlamaCppEngine
from finpool.catalogue.model.service import Catalogue, default_directory

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def one(manifests: list[Manifest], kind: str, suffix: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(suffix)]
    return found


@pytest.mark.parametrize("seconds", [10, 600, 7200])
def test_an_inference_pod_outlives_its_longest_stream(render: Render, seconds: int) -> None:
    spec = one(render({"inference": {"streamSecondsMax": seconds}}), "StatefulSet", "-inference")["spec"]["template"]
    (container,) = spec["spec"]["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:] == ["/etc/finpool/drain/drain.py", "8000", str(seconds)]
    assert spec["spec"]["terminationGracePeriodSeconds"] > seconds
    ray = one(render({"inference": {"streamSecondsMax": seconds}}), "RayService", "-finpool")
    worker = ray["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    assert worker["terminationGracePeriodSeconds"] > seconds


def test_the_worker_shares_the_spool_and_stops_after_the_inference_app(render: Render) -> None:
    spec = one(render(), "StatefulSet", "-inference")["spec"]
    (worker,) = spec["template"]["spec"]["initContainers"]
    (inference,) = spec["template"]["spec"]["containers"]
    assert worker["restartPolicy"] == "Always"
    assert worker["args"] == ["serve", "worker"]
    assert inference["args"] == ["serve", "inference"]
    for container in (worker, inference):
        given = environment(container)
        assert given["FINPOOL_SPOOL_DIR"].startswith("/var/lib/finpool")
        assert given["FINPOOL_SPOOL_BYTES_MAX"] == "1073741824"
        assert given["FINPOOL_REPLICA_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        assert {"name": "spool", "mountPath": "/var/lib/finpool"} in container["volumeMounts"]


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_inference_replica_has_a_name_and_a_spool_of_its_own(render: Render, replicas: int) -> None:
    spec = one(render({"inference": {"replicas": replicas}}), "StatefulSet", "-inference")["spec"]
    assert spec["replicas"] == replicas
    # A claim from a template is made for each pod; a volume of the pod's own specification would be shared by all.
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["spool"]
    assert not [volume for volume in spec["template"]["spec"]["volumes"] if volume["name"] == "spool"]
    for container in (*spec["template"]["spec"]["initContainers"], *spec["template"]["spec"]["containers"]):
        assert environment(container)["FINPOOL_REPLICA_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    # One after the other, so that an upgrade leaves the others to serve.
    assert spec.get("updateStrategy", {"type": "RollingUpdate"})["type"] == "RollingUpdate"


def test_the_bank_door_survives_an_upgrade_unless_it_is_asked_to_run_alone(render: Render) -> None:
    spec = one(render(), "StatefulSet", "-inference")["spec"]
    assert spec["replicas"] >= 2
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]


def test_a_spool_has_one_writer_and_outlives_the_release(render: Render) -> None:
    spec = one(render(), "StatefulSet", "-inference")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "spool"
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_migrations_run_before_anything_else_changes(render: Render) -> None:
    manifests = render()
    job = one(manifests, "Job", "-migrate")
    account = one(manifests, "ServiceAccount", "-migrate")
    for manifest in (job, account):
        assert manifest["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    weights = [int(m["metadata"]["annotations"]["helm.sh/hook-weight"]) for m in (account, job)]
    assert weights == sorted(weights)
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]
    assert job["spec"]["activeDeadlineSeconds"] == 600


def test_the_migration_job_needs_nothing_that_is_installed_after_it(render: Render) -> None:
    job = one(render({"catalogue": {"a.yaml": "id: a\n"}}), "Job", "-migrate")
    assert [volume for volume in job["spec"]["template"]["spec"]["volumes"] if "emptyDir" not in volume] == []


def test_the_place_to_make_tokens_is_there_only_when_asked_for_and_ends_by_itself(render: Render) -> None:
    assert not [manifest for manifest in render() if manifest["metadata"]["name"].endswith("-tokens")]
    job = one(render({"tokens": {"enabled": True, "deadlineSeconds": 120}}), "Job", "-tokens")
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (120, 0)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # It runs no `finpool token` itself: what that prints would be in the pod's log.
    assert container["command"] == ["python", "-c", "import time; time.sleep(120)"]
    assert "args" not in container


def test_every_connection_to_the_database_is_encrypted_and_verified_when_asked(render: Render) -> None:
    verified = {"databaseTls": {"mode": "verify-full", "caConfigMap": "authorities"}}
    for changes, mode, file in (({}, "require", None), (verified, "verify-full", "/etc/finpool/database-ca/ca.pem")):
        manifests = render(changes)
        workloads = [manifest for manifest in manifests if manifest["kind"] in {"Job", "Deployment", "StatefulSet"}]
        assert len(workloads) == 4
        for workload in workloads:
            spec = workload["spec"]["template"]["spec"]
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                assert environment(container)["PGSSLMODE"] == mode
                assert environment(container).get("PGSSLROOTCERT") == file


@pytest.mark.parametrize(("door", "port"), [("inference", 8000), ("operator", 8001), ("regulator", 8002)])
def test_each_door_is_probed_and_published_on_its_own_port(render: Render, door: str, port: int) -> None:
    manifests = render()
    kind = "StatefulSet" if door == "inference" else "Deployment"
    (container,) = one(manifests, kind, f"-{door}")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["serve", door]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert environment(container)["FINPOOL_HOST"] == "::"  # Ready on a cluster of IPv4, of IPv6 or of both.
    assert environment(container)["FINPOOL_PORT"] == "8000"
    service = one(manifests, "Service", f"-{door}")
    assert service["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    assert service["spec"]["type"] == "ClusterIP"


def test_every_process_listens_where_the_settings_say(render: Render) -> None:
    manifests = render({"settings": {"host": "10.0.0.7", "keep_alive_seconds": 90}})
    workloads = [manifest for manifest in manifests if manifest["kind"] in {"Deployment", "StatefulSet"}]
    containers = [each for workload in workloads for each in workload["spec"]["template"]["spec"]["containers"]]
    containers += one(manifests, "StatefulSet", "-inference")["spec"]["template"]["spec"].get("initContainers", [])
    served = [each for each in containers if each.get("args", [""])[0] == "serve"]
    assert {each["args"][1] for each in served} == {"inference", "worker", "operator", "regulator"}
    for container in served:
        named = [variable["name"] for variable in container["env"]]
        assert len(named) == len(set(named))
        assert environment(container)["FINPOOL_HOST"] == "10.0.0.7"
        assert environment(container)["FINPOOL_KEEP_ALIVE_SECONDS"] == "90"


def test_the_release_test_asks_every_door(render: Render) -> None:
    pod = one(render(), "Pod", "-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    urls = [part for part in pod["spec"]["containers"][0]["command"] if part.startswith("http://")]
    assert [url.rsplit("-", 1)[1] for url in urls] == [
        "inference:8000/readyz", "operator:8001/readyz", "regulator:8002/readyz",
    ]  # fmt: skip


def test_a_door_is_published_only_with_tls(render: Render) -> None:
    assert all(manifest["kind"] != "Ingress" for manifest in render())
    ingress = {"enabled": True, "host": "bank.example", "tlsSecretName": "bank-tls"}
    (published,) = [m for m in render({"regulator": {"ingress": ingress}}) if m["kind"] == "Ingress"]
    assert published["spec"]["tls"] == [{"hosts": ["bank.example"], "secretName": "bank-tls"}]


def test_a_scaled_door_leaves_its_replicas_to_the_autoscaler(render: Render) -> None:
    manifests = render({"operator": {"autoscaling": {"enabled": True}}})
    assert "replicas" not in one(manifests, "Deployment", "-operator")["spec"]
    scaler = one(manifests, "HorizontalPodAutoscaler", "-operator")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert one(manifests, "Deployment", "-regulator")["spec"]["replicas"] == 2


def test_disruption_budgets_let_one_pod_go_at_a_time(render: Render) -> None:
    budgets = [manifest for manifest in render() if manifest["kind"] == "PodDisruptionBudget"]
    selected = {b["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] for b in budgets}
    assert selected == {"inference", "operator", "regulator", "ray-worker"}
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets)


def test_each_model_is_one_serve_application(render: Render) -> None:
    catalogue = {"finance.yaml": "id: finance.v2\nversion: 2026-11\n"}
    values = {"models": {"serve": ["general", "finance.v2"]}, "catalogue": catalogue}
    service = one(render(values), "RayService", "-finpool")["spec"]
    config = yaml.safe_load(service["serveConfigV2"])
    assert config["applications"] == [
        {
            "name": model,
            "import_path": "finpool.serving.cluster.application:build_app",
            "route_prefix": f"/engines/{model}/{version}",
            "args": {"model_id": model},
        }
        for model, version in (("general", "1"), ("finance.v2", "2026-11"))
    ]


def test_by_default_every_model_that_banks_see_is_served_and_all_engines_fit_on_one_worker(render: Render) -> None:
    service = one(render(), "RayService", "-finpool")["spec"]
    served = {each["args"]["model_id"] for each in yaml.safe_load(service["serveConfigV2"])["applications"]}
    models = Catalogue.load(default_directory()).all()
    assert served == {model.id for model in models}
    (workers,) = service["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    # KubeRay gives Ray as many processors as the container's limit names.
    threads = sum(model.engine.threads for model in models if isinstance(model.engine, LlamaCppEngine))
    assert threads <= int(container["resources"]["limits"]["cpu"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_rays_proxy_listens_on_ipv4_alone_as_the_chart_says(host: str) -> None:
    # HAProxy's `*` is every IPv4 address. If this fails, the chart's Ray may follow `settings.host` as the doors do.
    program = (
        "from ray.serve._private.haproxy import HAProxyConfig; from ray.serve.config import HTTPOptions;"
        f"print(HAProxyConfig(http_options=HTTPOptions(host={host!r})).frontend_host)"
    )
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert asked.stdout.splitlines()[-1] == "*"
    chart = (ROOT / "helm" / "finpool" / "README.md").read_text(encoding="utf-8")
    assert "its proxy listens on IPv4 alone" in chart


def test_ray_serves_from_its_workers_behind_a_token(render: Render) -> None:
    manifests = render()
    service = one(manifests, "RayService", "-finpool")
    spec = service["spec"]
    cluster = spec["rayClusterConfig"]
    assert spec["excludeHeadPodFromServeSvc"] is True
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        given = environment(group["template"]["spec"]["containers"][0])
        assert given["RAY_SERVE_ENABLE_HA_PROXY"] == given["RAY_SERVE_ENABLE_DIRECT_INGRESS"] == "1"
        assert given["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == given["FINPOOL_ENGINE_DRAIN_SECONDS"]
        module, _, name = given["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert given["FINPOOL_WEIGHTS_DIR"] == "/var/lib/finpool/weights"
    ports = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    assert {"name": "serve", "containerPort": 8000} in ports
    (inference,) = one(manifests, "StatefulSet", "-inference")["spec"]["template"]["spec"]["containers"]
    url = f"http://{service['metadata']['name']}-serve-svc:8000"
    assert environment(inference)["FINPOOL_SERVE_URL"] == url


def test_a_new_chart_version_alone_does_not_restart_the_models(render: Render) -> None:
    cluster = one(render(), "RayService", "-finpool")["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert "helm.sh/chart" not in group["template"]["metadata"]["labels"]
