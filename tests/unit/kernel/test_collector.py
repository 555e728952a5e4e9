"""Objects of a process's start are outside the collector's reach; garbage is collected before and after."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from finpool.kernel.collector import exempt_living_objects, exempt_new_objects


class Node:
    """An object that refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _searched_again() -> Iterator[None]:
    yield
    gc.unfreeze()


def _is_searched(wanted: object) -> bool:
    return any(each is wanted for each in gc.get_objects())


def test_a_collection_no_longer_searches_what_lived_before() -> None:
    living = Node()
    exempt_living_objects()
    later = Node()
    assert not _is_searched(living)
    assert _is_searched(later)


def test_garbage_from_before_and_from_later_is_freed() -> None:
    before = weakref.ref(Node())
    exempt_living_objects()
    later = weakref.ref(Node())
    gc.collect()
    assert before() is None
    assert later() is None


def test_an_exempt_object_is_freed_once_nothing_refers_to_it() -> None:
    living = [Node()]
    living[0].itself = living[0].__class__  # type: ignore[assignment]
    freed = weakref.ref(living[0])
    exempt_living_objects()
    living.clear()
    assert freed() is None


def test_new_objects_are_exempt_only_where_those_of_the_start_are() -> None:
    new = Node()
    exempt_new_objects()
    assert _is_searched(new)
    exempt_living_objects()
    newer = Node()
    garbage = weakref.ref(Node())
    exempt_new_objects()
    assert not _is_searched(newer)
    assert garbage() is None
