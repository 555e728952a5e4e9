"""Check commit messages by the rules of CONTRIBUTING.md, without the network or any package.

`check_commit_messages.py FILE` checks the message in a file, as git's commit-msg hook gives it;
`check_commit_messages.py main..HEAD` checks every commit of that range. Exit code 1: a rule is broken.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUBJECT_CHARACTERS_MAX = 72
AREAS_BESIDE_DOMAINS = frozenset(
    {"all", "build", "ci", "docs", "helm", "migrations", "release", "tenants", "terraform", "tests"}
)
"""`all` is a change of most domains at once."""

SUBJECT = re.compile(r"(?P<area>[a-z_]+): (?P<verb>[a-z-]+) .*[^. ]")
NOT_IMPERATIVE = re.compile(r"\w{2,}(ed|ing|(?<![aisu])s)")
IMPERATIVE_ALL_THE_SAME = frozenset({"embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "bring"})
SQUASHED_LATER = ("fixup! ", "squash! ", "amend! ")
SCISSORS = "# ------------------------ >8 ------------------------"


def areas() -> frozenset[str]:
    """Return the allowed beginnings of a subject: the domains, and the folders beside them."""
    return AREAS_BESIDE_DOMAINS.union(
        marker.parent.name for marker in (ROOT / "platform" / "finpool").glob("*/__init__.py")
    )


def faults(message: str) -> list[str]:
    """Return one sentence for each rule that a commit message breaks; lines that git leaves out do not count."""
    text = message.split(SCISSORS)[0]
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    subject, rest = (lines or [""])[0], lines[1:]
    found = []
    if len(subject) > SUBJECT_CHARACTERS_MAX:
        found.append(f"The subject has {len(subject)} characters; at most {SUBJECT_CHARACTERS_MAX} are allowed.")
    match = SUBJECT.fullmatch(subject)
    if match is None:
        found.append("The subject is `area: verb what`, in lower case up to the verb, without a full stop.")
    else:
        if match["area"] not in areas():
            found.append(f"`{match['area']}` is no area; there are: {', '.join(sorted(areas()))}.")
        if NOT_IMPERATIVE.fullmatch(match["verb"]) and match["verb"] not in IMPERATIVE_ALL_THE_SAME:
            found.append(f"`{match['verb']}` is not the imperative: write `add`, not `added`, `adds` or `adding`.")
    if rest and rest[0]:
        found.append("The second line is empty.")
    if not any(rest):
        found.append("The body says why.")
    return found


def messages(argument: str) -> list[str]:
    """Return the messages of a range of commits, or the one in a file unless it will be squashed into another."""
    if ".." in argument and not Path(argument).exists():
        log = subprocess.run(
            ["git", "-C", str(ROOT), "log", "-z", "--format=%B", argument], check=True, capture_output=True, text=True
        )
        return [message for message in log.stdout.split("\0") if message]
    message = Path(argument).read_text(encoding="utf-8")
    return [] if message.startswith(SQUASHED_LATER) else [message]


def main(argument: str) -> int:
    """Print what is wrong with each message and return the exit code."""
    wrong = [(message, found) for message in messages(argument) if (found := faults(message))]
    for message, found in wrong:
        sys.stderr.write("\n  ".join([message.partition("\n")[0], *found]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
