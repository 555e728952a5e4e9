"""The engines on this Ray cluster: one Serve application for each version of a model."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import ray
from ray import serve
from ray._private.state import available_resources_per_node
from ray.serve.schema import ApplicationStatus

from finpool.catalogue.model.engine import VllmEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.node.schemas import Node
from finpool.kernel.clock import now
from finpool.serving.cluster.application import ApplicationArgs, build_app
from finpool.serving.errors import EngineFailed

_KIND = "accelerator_type:"
Answer = TypeVar("Answer")
REASON_CHARACTERS_MAX = 500


class RayEngines:
    """The engines on Ray. Ray's and Serve's calls block, so one thread of this object makes them one by one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray")

    async def missing_resources(self, model: Model) -> str | None:
        """Return the missing resources for one more engine of `model` as a text, or None if it fits."""
        return await self._call(lambda: _missing(model))

    async def deploy(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> None:
        """Deploy the engine unless it is deployed; `running` tells when it has started, or sleeps as `asleep` asks."""
        await self._call(lambda: _deploy(model, adapters, asleep=asleep))

    async def running(self, model: Model) -> bool:
        """Tell whether the engine is started and warm; raise `EngineFailed` with the reason if it cannot start."""
        return await self._call(lambda: _running(model.engine_key))

    async def deployed(self) -> set[str]:
        """Return the keys of the engines that are deployed and have not ended."""
        return await self._call(lambda: set(serve.status().applications))

    async def nodes(self) -> list[Node]:
        """Return the cluster's nodes with their total and free resources."""
        return await self._call(_nodes)

    async def delete(self, key: str) -> None:
        """Start to delete an engine; it first finishes its running answers, within the drain limit."""
        await self._call(lambda: serve.delete(key, _blocking=False))

    def close(self) -> None:
        """End the thread; the engines keep running."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _nodes() -> list[Node]:
    free = available_resources_per_node()  # type: ignore[no-untyped-call]
    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            total, left = node["Resources"], free.get(node["NodeID"], {})
            kinds = [name.removeprefix(_KIND) for name in total if name.startswith(_KIND)]
            found.append(
                Node(
                    node_id=node["NodeName"],
                    cpus=int(total.get("CPU", 0)),
                    cpus_free=max(0, int(left.get("CPU", 0))),
                    accelerator=kinds[0] if kinds else None,
                    accelerators=int(total.get("GPU", 0)),
                    accelerators_free_percent=max(0, int(100 * left.get("GPU", 0))),
                    memory_bytes=int(total.get("memory", 0)),
                    seen_at=now(),
                )
            )
    return found


def _missing(model: Model) -> str | None:
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    wanted = _resources(model)
    short = [f"{name} {free.get(name, 0):g} of {wanted[name]:g}" for name in wanted if free.get(name, 0) < wanted[name]]
    return ", ".join(short) or None


def _resources(model: Model) -> dict[str, float]:
    """Return the resources of an engine at its start, by Ray's names."""
    engine = model.engine
    wanted = {"CPU": float(engine.threads)}
    if isinstance(engine, VllmEngine) and engine.device == "cuda":
        wanted["GPU"] = engine.accelerators * engine.accelerator_percent / 100
    return {name: amount * engine.replicas_first for name, amount in wanted.items()}


def _deploy(model: Model, adapters: Sequence[Model], *, asleep: bool) -> None:
    known = serve.status().applications.get(model.engine_key)
    if known is not None and known.status in (ApplicationStatus.DEPLOYING, ApplicationStatus.RUNNING):
        return  # A new deploy would be a new version to Serve, which would replace working engine replicas.
    arguments = ApplicationArgs(model_id=model.id, declaration=model, adapters=tuple(adapters), asleep=asleep)
    target = serve.RunTarget(build_app(arguments), name=model.engine_key, route_prefix=model.engine_path)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def _running(key: str) -> bool:
    application = serve.status().applications.get(key)
    if application is None:
        raise EngineFailed("It was taken down while it started.")
    if application.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
        lines = [line.strip() for line in application.message.splitlines() if line.strip()]
        raise EngineFailed((lines or ["The engine could not be started."])[-1][:REASON_CHARACTERS_MAX])
    return bool(application.status == ApplicationStatus.RUNNING)
