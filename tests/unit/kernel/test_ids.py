"""Ids: unique in every thread and in every forked process."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

from finpool.kernel.ids import new_id

COUNT = 600


def test_an_id_has_its_prefix_and_120_random_bits_as_base32() -> None:
    assert re.fullmatch(r"req_[a-z2-7]{24}", new_id("req"))


def test_no_two_threads_draw_the_same_id() -> None:
    with ThreadPoolExecutor(8) as threads:
        drawn = [each for ids in threads.map(lambda _: [new_id("a") for _ in range(COUNT)], range(8)) for each in ids]
    assert len(set(drawn)) == 8 * COUNT


def test_a_forked_process_draws_other_ids_than_its_parent() -> None:
    new_id("a")  # The parent holds characters for more ids now.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(new_id("a") for _ in range(100)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        of_child = set(pipe.read().split())
    os.waitpid(child, 0)
    assert len(of_child) == 100
    assert not of_child & {new_id("a") for _ in range(COUNT)}
