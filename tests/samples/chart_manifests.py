"""The rendered chart: values that flip its every option, and a way through the resulting pods."""

from collections.abc import Iterator
from typing import Any

import yaml
from model_declarations import CUDA_ENGINE, vllm_declaration
from remote_model import remote_declaration

Manifest = dict[str, Any]

INGRESS = {"enabled": True, "className": "nginx", "host": "models.example", "tlsSecretName": "models-tls"}
PEERS = [{"namespaceSelector": {"matchLabels": {"team": "edge"}}}, {"ipBlock": {"cidr": "10.9.0.0/16"}}]
TOLERATIONS = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
GPU = {"requests": {"cpu": "4", "memory": "32Gi"}, "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"}}

VLLM_IMAGE = {"engineVllm": {"digest": "sha256:" + "c" * 64}}
ACCELERATORS: dict[str, Any] = {
    "name": "h100",
    "replicas": 2,
    "accelerators": 4,
    "sharedMemory": "16Gi",
    "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"memory": "96Gi"}},
}

VARIATIONS: dict[str, dict[str, Any]] = {
    "as required": {},
    "images": {
        "global": {"imageRegistry": "registry.example:5000/bank"},
        "images": {"pullPolicy": "Always", "pullSecrets": ["pull"], "app": {"repository": "mirror/app"}},
    },
    "settings": {"settings": {"body_bytes_max": 2097152, "lease_share_of_rest": 0.25, "log_level": "DEBUG"}},
    "catalogue": {"catalogue": {"models.yaml": "id: a\n"}, "models": {"serve": ["a", "b.1"]}},
    "scheduling": {"scheduling": {"nodeSelector": {"pool": "apps"}, "tolerations": TOLERATIONS}},
    "inference": {
        "inference": {
            "streamSecondsMax": 1800,
            "spool": {"size": "20Gi", "bytesMax": 17179869184, "storageClassName": "fast"},
            "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
            "ingress": {**INGRESS, "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"}},
            "allowFrom": PEERS,
        }
    },
    "doors": {
        "operator": {"replicas": 1, "autoscaling": {"enabled": True}, "ingress": INGRESS, "allowFrom": PEERS},
        "regulator": {
            "autoscaling": {"enabled": True, "replicasMax": 6},
            "ingress": INGRESS,
            "allowFrom": PEERS,
        },
    },
    "migration": {"migration": {"backoffLimit": 0, "deadlineSeconds": 3600}},
    "tokens": {"tokens": {"enabled": True, "deadlineSeconds": 60}},
    "models": {
        "models": {
            "upgradeStrategy": "None",
            "kuberayNamespace": "ray",
            "workers": {
                "replicas": 3,
                "resources": GPU,
                "nodeSelector": {"gpu": "yes"},
                "tolerations": TOLERATIONS,
            },
            "weights": {
                "existingClaim": "weights",
                "hubUrl": "https://hub.example",
                "packageIndexUrl": "https://index.example/simple",
                "sources": [{"cidr": "10.2.0.0/16", "port": 443}],
            },
        }
    },
    "database": {"databaseTls": {"mode": "verify-full", "caConfigMap": "authorities"}},
    "telemetry": {"telemetry": {"otlpEndpoint": "http://otel.example:4318", "collectors": PEERS}},
    "accelerators": {
        "images": VLLM_IMAGE,
        "models": {
            "serve": ["smollm2-135m-instruct", "tuned"],
            "acceleratorGroups": [
                {
                    **ACCELERATORS,
                    "nodeSelector": {"gpu": "h100"},
                    "tolerations": TOLERATIONS,
                    "runtimeClassName": "nvidia",
                },
                {**ACCELERATORS, "name": "slices", "accelerators": 1, "acceleratorResource": "nvidia.com/mig-3g.40gb"},
            ],
        },
        "catalogue": {
            "tuned.yaml": yaml.safe_dump(vllm_declaration(id="tuned", engine={**CUDA_ENGINE, "tensor_parallel": 2}))
        },
    },
    "accelerators only": {
        "images": VLLM_IMAGE,
        "models": {"workers": {"replicas": 0}, "acceleratorGroups": [ACCELERATORS]},
    },
    "remote engines": {
        "catalogue": {"far.yaml": yaml.safe_dump(remote_declaration("https://models.example/v1"))},
        "remoteEngines": {"egress": [{"to": PEERS, "port": 443}]},
    },
}


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the specification of every pod that comes of the manifests, Ray's included, with its component."""
    for manifest in manifests:
        templates: list[Manifest] = []
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
            templates = [manifest["spec"]["template"]]
        elif manifest["kind"] == "Pod":
            templates = [manifest]
        elif manifest["kind"] == "RayService":
            cluster = manifest["spec"]["rayClusterConfig"]
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            templates = [group["template"] for group in groups]
        for template in templates:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return every container by its name; names are unique over the chart, but for those of Ray's workers."""
    found: dict[str, Manifest] = {}
    for component, spec in pod_specs(manifests):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            name = container["name"]
            assert name not in found or component == "ray-worker"
            found[name if name not in found else f"{name} {len(found)}"] = container
    return found


def environment(container: Manifest) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}
