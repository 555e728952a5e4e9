"""The platform's address and token for a command: from the environment, or else from this machine's demo.env."""

import os

from finpool.client.api import ApiClient
from finpool.client.errors import CliError
from finpool.installation.demo.env import read_demo_env
from finpool.installation.home.home import Home, local_settings


def operator_api() -> ApiClient:
    """Return the operator API; raise `CliError` with the missing variables."""
    return _api("FINPOOL_OPERATOR_URL", "OPERATOR_TOKEN")


def regulator_api() -> ApiClient:
    """Return the regulator API; raise `CliError` with the missing variables."""
    return _api("FINPOOL_REGULATOR_URL", "REGULATOR_TOKEN")


def _api(url_name: str, token_name: str) -> ApiClient:
    if url_name in os.environ or token_name in os.environ:
        # Never mix both sources: this machine's token must not reach another machine's address.
        source, where = dict(os.environ), "the environment"
    else:
        home = Home(local_settings().home)
        source, where = read_demo_env(home), str(home.demo_env)
    missing = [name for name in (url_name, token_name) if not source.get(name)]
    if missing:
        raise CliError(
            f"{' and '.join(missing)} not found in {where}: set {url_name} and {token_name},"
            " or run `finpool up` on this machine first",
            code="no_connection",
        )
    return ApiClient(source[url_name], source[token_name])
