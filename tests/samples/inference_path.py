"""The inference path behind the routes, in one process and without a door."""

import pathlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from finpool.billing.contract.schemas import Quote
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import Tier
from finpool.gateway.call.admission import Admitted
from finpool.gateway.call.call import Call
from finpool.gateway.call.open_calls import OpenCalls
from finpool.gateway.call.prompt_counter import PromptCounter
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.queue import FairQueue
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ModelId, ProjectId, ReplicaId, RequestId, TenantId, new_id
from finpool.kernel.settings import Settings
from finpool.metering.meter.service import Metering
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.file import FILE_NAME
from finpool.metering.spool.spool import Spool
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota
from finpool.quota.schemas import Rate
from finpool.serving.backend.service import Backends
from finpool.serving.schemas import Operation

MODEL = ModelId("smollm2-135m-instruct")
BANK = TenantId("bank-a")
QUOTE = Quote("v1", MODEL, "CNY", 1_000_000, 500_000, 2_000_000, Tier.STANDARD)

OpenDatabase = Callable[[str], Database]


class InferencePath:
    """The inference path behind the routes, in this process, on real Postgres and the scripted engine."""

    def __init__(self, database: OpenDatabase, settings: Settings, spool: Spool, directory: pathlib.Path) -> None:
        self.model = Catalogue.load(default_directory()).get(MODEL)
        self.spool = spool
        self.directory = directory
        self.recorder = Recorder(database("worker"), directory, ReplicaId("one"))
        self.limits = LimitDirectory()
        holder = Holder(ReplicaId("one"), spool.spool_id, "run_one")
        self.allotments = Allotments(
            database("inference"), holder, spool.return_lease, share_of_rest=0.01, idle_seconds=0.001
        )
        self.quota = Quota(self.limits, self.allotments)
        self.scheduler = FairScheduler(2)
        self.queue = FairQueue(self.scheduler, waiting_max=6, wait_seconds_max=0.2)
        self.backends = Backends(settings)
        self.calls = OpenCalls()

    def call(self, key_id: str) -> Call:
        actor = Actor(Audience.TENANT, key_id, Role.TENANT_OWNER, BANK, ProjectId("main"))
        admitted = Admitted(
            operation=Operation.CHAT,
            request_id=RequestId(new_id("req")),
            actor=actor,
            model=self.model,
            quote=QUOTE,
            policy_version=1,
            streamed=True,
            engine_body={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5},
            input_tokens_bound=300,
            output_tokens_bound=10,
        )
        return Call(
            admitted,
            quota=self.quota,
            metering=Metering(self.spool),
            queue=self.queue,
            backends=self.backends,
            counter=PromptCounter(self.backends),
            open_calls=self.calls,
        )

    def intents(self) -> list[Any]:
        connection = sqlite3.connect(self.directory / FILE_NAME)
        try:
            return connection.execute("SELECT request_id FROM intent").fetchall()
        finally:
            connection.close()

    def change_spool(self, statement: str) -> None:
        """Change the spool's file from outside, as its file system does."""
        with closing(sqlite3.connect(self.directory / FILE_NAME, timeout=10)) as connection, connection:
            connection.execute(statement)

    def under_way(self) -> int:
        """Count the calls that hold a place of the limited concurrency."""
        held = self.allotments.rates._allotments.get(BANK, {}).values()
        return sum(each.used(0.0) for each in held if each.key.rate is Rate.CONCURRENCY)

    async def return_everything(self) -> None:
        await self.allotments.wait_for_answers()
        self.allotments.leases.drain(None)
        await self.allotments.return_unused()
        while await self.recorder.run_once():
            pass
