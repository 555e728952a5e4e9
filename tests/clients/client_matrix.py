"""The clients that are tried, and the checks of each."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

COMMON = ("example", "conversation", "tools", "structured output", "streaming")
CHECKS = (*COMMON, "embeddings", "rankings", "standard suite")
"""The columns of the table."""


NODE = "node"
"""The environment of the clients for Node."""


@dataclass(frozen=True)
class Client:
    """A client: its name in the table, its heading in docs/clients.md, its program, and the packages that it runs with.

    `package` is the name in the lock file `requirements/clients/<environment>.txt`, or in that of Node.
    """

    name: str
    heading: str
    program: str
    environment: str
    package: str
    checks: tuple[str, ...]

    def version(self) -> str:
        """Return the version in the lock file."""
        if self.environment == NODE:
            packages = json.loads((FOLDER / "node" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
            return str(packages[f"node_modules/{self.package}"]["version"])
        lock = (ROOT / "requirements" / "clients" / f"{self.environment}.txt").read_text(encoding="utf-8")
        (version,) = re.findall(rf"^{re.escape(self.package)}==(\S+)", lock, flags=re.MULTILINE)
        return str(version)


CLIENTS = (
    Client(
        "openai (Python)", "openai for Python", "python/test_openai.py", "current", "openai", (*COMMON, "embeddings")
    ),
    Client(
        "openai (Python), a year old",
        "openai for Python",
        "python/test_openai.py",
        "year-old",
        "openai",
        (*COMMON, "embeddings"),
    ),
    Client("openai (Node)", "openai for Node", "node/openai.test.mjs", NODE, "openai", (*COMMON, "embeddings")),
    Client(
        "openai (Node), a year old",
        "openai for Node",
        "node/openai.test.mjs",
        NODE,
        "openai-year-old",
        (*COMMON, "embeddings"),
    ),
    Client(
        "LangChain",
        "LangChain",
        "python/test_langchain.py",
        "current",
        "langchain-openai",
        (*COMMON, "embeddings", "standard suite"),
    ),
    Client(
        "LlamaIndex",
        "LlamaIndex",
        "python/test_llamaindex.py",
        "openai-2",
        "llama-index-llms-openai-like",
        (*COMMON, "embeddings"),
    ),
    Client(
        "pydantic-ai",
        "pydantic-ai",
        "python/test_pydantic_ai.py",
        "current",
        "pydantic-ai-slim",
        (*COMMON, "embeddings"),
    ),
    Client("instructor", "instructor", "python/test_instructor.py", "openai-2", "instructor", COMMON),
    Client("Agents SDK", "OpenAI Agents SDK", "python/test_agents.py", "current", "openai-agents", COMMON),
    Client("Cohere", "Cohere", "python/test_cohere.py", "current", "cohere", ("example", "rankings")),
    Client("Vercel AI SDK", "Vercel AI SDK", "node/vercel.test.mjs", NODE, "ai", (*COMMON, "embeddings")),
    Client("llm", "llm", "python/test_llm.py", "current", "llm", COMMON),
    Client("aider", "aider", "python/test_aider.py", "aider", "aider-chat", ("example", "conversation", "streaming")),
)
