"""Every query parameter that the official admin client can send is served, or refused by name with a reason."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import openai
import pytest
from openai.types.admin.organization.audit_log_list_params import AuditLogListParams
from openai.types.admin.organization.project_list_params import ProjectListParams
from openai.types.admin.organization.usage_completions_params import UsageCompletionsParams
from openai.types.admin.organization.usage_costs_params import UsageCostsParams
from openai.types.admin.organization.usage_embeddings_params import UsageEmbeddingsParams
from typing_extensions import is_typeddict
from usage_doors import Doors

NOT_SERVED = {"user_ids", "batch", "actor_emails", "tenant_only"}
METHODS = {
    "audit_logs.list": AuditLogListParams,
    "projects.list": ProjectListParams,
    "usage.completions": UsageCompletionsParams,
    "usage.embeddings": UsageEmbeddingsParams,
    "usage.costs": UsageCostsParams,
}
HASH = "0" * 64
AFTER = {"projects.list": "credit"}


def samples(name: str, kind: Any) -> Iterator[Any]:
    """Yield values of a parameter of the client, one for each field and for some of the choices."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)[:5]
    elif is_typeddict(kind):
        yield from ({field: 99_999_999_999} for field in get_type_hints(kind))
    elif kind is int:
        yield 5
    elif kind is bool:
        yield True
    elif kind is str:
        yield {"page": "page_86400"}.get(name, HASH)
    else:
        yield from ([each] for each in samples(name, *(get_args(kind) or (str,))))


@pytest.mark.parametrize("method", METHODS)
async def test_no_parameter_of_the_official_client_is_unknown(doors: Doors, method: str) -> None:
    resource, _, call = method.partition(".")
    send = getattr(getattr(doors.official("bank-a/owner").admin.organization, resource), call)
    required = {"start_time": 1} if resource == "usage" else {}
    served: set[str] = set()
    refused: dict[str, str] = {}
    for name, kind in get_type_hints(METHODS[method]).items():
        for value in [AFTER[method]] if name == "after" and method in AFTER else samples(name, kind):
            try:
                await send(**{**required, name: value})
                served.add(name)
            except openai.BadRequestError as error:
                refused[name] = str(error.code)
    assert {name for name, code in refused.items() if code == "unsupported_parameter"} <= NOT_SERVED
    # A list of groups is served in part: the answer names those that it takes.
    assert {name for name, code in refused.items() if code == "invalid_request"} <= {"group_by"}
    assert not served & NOT_SERVED
    assert served | refused.keys() == get_type_hints(METHODS[method]).keys()
