"""The resources of OpenAI's API that the banks' door does not have, and why.

OpenAI's clients have a method for each, so a bank's developer may call one. The refusal then says the reason.
"""

from collections.abc import Mapping

_NO_AGENTS = "agents run in your own program, which calls /v1/chat/completions with tools"
_NO_CONVERSATIONS = "no conversation is kept here; send its messages to /v1/chat/completions"
_NO_FILES = "no files are kept here; /v1/embeddings and /v1/rerank search the texts that you keep"
_NO_IMAGES = "no model here makes images or videos"
_NO_SOUND = "no model here takes or makes sound"
_NO_TRAINING = "no model is trained or evaluated here; the operator proposes versions of models"
_NO_JUDGEMENT = "no content is classified here; a model can do it at /v1/chat/completions"
_BY_OPERATORS = "the platform's operator manages members, keys, projects and limits; ask there"
_ONE_BY_ONE = "requests are sent one by one, such as to /v1/chat/completions"

ABSENT: Mapping[str, str] = {
    "/v1/agents": _NO_AGENTS,
    "/v1/assistants": _NO_CONVERSATIONS,
    "/v1/audio": _NO_SOUND,
    "/v1/batches": _ONE_BY_ONE,
    "/v1/chat/completions": "no completion is stored here",
    "/v1/chatkit": _NO_AGENTS,
    "/v1/containers": _NO_AGENTS,
    "/v1/content_provenance_checks": _NO_JUDGEMENT,
    "/v1/conversations": _NO_CONVERSATIONS,
    "/v1/decisions": _NO_JUDGEMENT,
    "/v1/evals": _NO_TRAINING,
    "/v1/files": _NO_FILES,
    "/v1/fine_tuning": _NO_TRAINING,
    "/v1/images": _NO_IMAGES,
    "/v1/live": _NO_SOUND,
    "/v1/moderations": _NO_JUDGEMENT,
    "/v1/organization": _BY_OPERATORS,
    "/v1/organization/usage": "usage is of completions and of embeddings",
    "/v1/projects": _BY_OPERATORS,
    "/v1/realtime": _NO_SOUND,
    "/v1/responses": _NO_CONVERSATIONS,
    "/v1/safety": _NO_JUDGEMENT,
    "/v1/skills": _NO_FILES,
    "/v1/threads": _NO_CONVERSATIONS,
    "/v1/uploads": _NO_FILES,
    "/v1/vaults": _NO_AGENTS,
    "/v1/vector_stores": _NO_FILES,
    "/v1/videos": _NO_IMAGES,
}
"""Beginnings of paths, each with the reason; the longest that fits a path counts."""
