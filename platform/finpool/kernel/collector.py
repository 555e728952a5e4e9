"""Python's collector of reference cycles, kept from stopping the event loop.

A full collection searches every object that it knows. A gateway has 200,000 from its start, and several for each
tenant; to search them takes 75 to 165 ms. They live as long as the process, so the collector need not know them.
"""

import gc


def exempt_living_objects() -> None:
    """Exempt every living object from later collections; it is still freed once nothing refers to it.

    All garbage is collected before, or its cycles would stay for good. This takes as long as a full collection.
    """
    gc.collect()
    gc.freeze()


def exempt_new_objects() -> None:
    """Exempt objects made since then, which will live long; do nothing in a process without exempt objects.

    Only garbage among the youngest objects is collected before, which takes some milliseconds at most.
    """
    if gc.get_freeze_count():
        gc.collect(1)
        gc.freeze()
