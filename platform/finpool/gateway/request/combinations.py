"""The fields that an engine does not serve together: a request with both is refused with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finpool.catalogue.model.engine import LlamaCppEngine, OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import UnsupportedParameter
from finpool.gateway.request.chat import ChatRequest

AUTO = "`tools` with `tool_choice` `auto`"
ANY = "`tools`"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that does not go with the tools of a request; `beside` are those tools in words."""

    param: str
    beside: str
    reason: str

    def is_in(self, request: ChatRequest) -> bool:
        """Tell whether the request has both."""
        return bool(getattr(request, self.param)) and _MEANT[self.beside](request)


def _may_call(request: ChatRequest) -> bool:
    return bool(request.tools) and request.tool_choice != "none"


def may_choose(request: ChatRequest) -> bool:
    """Tell whether the model chooses between a call and an answer."""
    return _may_call(request) and request.tool_choice in (None, "auto")


_MEANT: Mapping[str, Callable[[ChatRequest], bool]] = {AUTO: may_choose, ANY: _may_call}

CONFLICTS: Mapping[type[LlamaCppEngine | VllmEngine | OpenAiEngine], tuple[Conflict, ...]] = {
    LlamaCppEngine: (),
    VllmEngine: (
        Conflict("response_format", AUTO, "one grammar holds either the answer or the calls; ask for one of both"),
        Conflict("logprobs", ANY, "the probabilities of tokens around a call are lost; ask without"),
    ),
    OpenAiEngine: (),
}


def require_together(model: Model, request: ChatRequest) -> None:
    """Raise `UnsupportedParameter` for a field that the model's engine does not serve beside the request's tools."""
    for conflict in CONFLICTS[type(model.engine)]:
        if conflict.is_in(request):
            raise UnsupportedParameter(
                f"'{conflict.param}' is not supported beside {conflict.beside}: on the engine of the model"
                f" '{model.id}' {conflict.reason}.",
                param=conflict.param,
            )
