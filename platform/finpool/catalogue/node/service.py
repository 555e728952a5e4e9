"""The pool's nodes in Postgres: the pool writes them, capacity planning reads them."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.catalogue.node.models import PoolNode
from finpool.catalogue.node.schemas import Node


async def write_nodes(session: AsyncSession, nodes: Sequence[Node]) -> None:
    """Replace the rows of `pool_node` by these nodes; rows of other nodes are deleted."""
    await session.execute(delete(PoolNode).where(col(PoolNode.node_id).not_in([node.node_id for node in nodes])))
    for node in nodes:
        values = asdict(node)
        statement = insert(PoolNode).values(values)
        await session.execute(statement.on_conflict_do_update(index_elements=["node_id"], set_=values))


async def nodes(session: AsyncSession) -> list[Node]:
    """Return the nodes of the pool's last report, ordered by id."""
    rows = (await session.execute(select(PoolNode).order_by(col(PoolNode.node_id)))).scalars()
    return [Node(**row.model_dump()) for row in rows]
