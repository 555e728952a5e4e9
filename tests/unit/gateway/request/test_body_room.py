"""Large bodies on their way have a bounded room, of which no tenant may fill more than its part."""

from contextlib import ExitStack

import pytest

from finpool.gateway.errors import LargeBodiesExceeded
from finpool.gateway.request.body_room import UNDECLARED_BYTES, BodyRoom
from finpool.kernel.ids import TenantId

BANK, OTHER, THIRD = TenantId("bank-a"), TenantId("bank-b"), TenantId("bank-c")
LARGE = "100000"


@pytest.fixture
def room() -> BodyRoom:
    return BodyRoom(tenant_bytes_max=200_000, bytes_max=350_000)


def test_a_tenant_with_too_many_bytes_on_their_way_is_refused_and_no_other(room: BodyRoom) -> None:
    with room.held(BANK, LARGE), room.held(BANK, LARGE), room.held(OTHER, LARGE):
        with pytest.raises(LargeBodiesExceeded, match="this tenant"), room.held(BANK, LARGE):
            pass
        with room.held(BANK, "200"):
            pass


def test_all_tenants_together_have_a_bound(room: BodyRoom) -> None:
    refused = pytest.raises(LargeBodiesExceeded, match="this replica")
    with room.held(BANK, LARGE), room.held(OTHER, LARGE), room.held(THIRD, LARGE), refused, room.held(OTHER, LARGE):
        pass


def test_a_body_in_chunks_counts_as_the_largest(room: BodyRoom) -> None:
    assert UNDECLARED_BYTES > 200_000
    with pytest.raises(LargeBodiesExceeded), room.held(BANK, ""):
        pass


def test_room_comes_back_however_the_reading_ends(room: BodyRoom) -> None:
    for _ in range(5):
        with pytest.raises(ConnectionError), room.held(BANK, "200000"):
            raise ConnectionError
    with ExitStack() as stack:
        stack.enter_context(room.held(BANK, LARGE))
        stack.enter_context(room.held(BANK, LARGE))
