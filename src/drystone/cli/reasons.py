"""Every reason of the code with its sentence and hint, as a page of the reference. Read out of the source itself.

`drystone jobs reasons > docs/reference/reasons.md`; a test keeps the two equal.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_KINDS = ("Invalid", "NotFound", "Conflict", "Denied", "Unavailable", "DrystoneError", "_Reason", "failure")
# What a person meets over HTTP, in a job or a document; the stack's own errors say themselves what to do.
# Of a code that several tell, the first counts.
_ROOMS = (
    "access",
    "adapters",
    "answers",
    "api",
    "http",
    "core/db.py",
    "core/turnstile.py",
    "dify",
    "documents",
    "http",
    "index",
    "jobs",
    "mcp",
    "openai",
    "search",
    "webhooks",
    "worker",
    "catalogue",
    "mentions",
    "observations",
    "console",
)
_CODE = re.compile(r"[a-z_]+\.[a-z_]+")
_HEAD = """# What does this reason mean, and what do I do?

Every failed job and document, and every refused request, has a code that does not change, a sentence, and mostly a hint. `…` stands for
what differs. Written by `./drystone jobs reasons`; a test keeps it in step with the code.

| code | sentence | hint |
|---|---|---|
"""
_BY_HAND = {
    "request.precondition_failed": (
        "What is to be changed is another by now than If-Match says.",
        "read it again, look at what has changed, and send the revision of that answer",
    ),
    "draft.stale": (
        "Something that the draft touches was changed since it was begun.",
        "look at the diff of the draft, and rebase it",
    ),
    "worker.lost": ("The worker that had this job vanished.", "nothing: it is tried again"),
    "job.lease_lost": (
        "The job is no longer held by this worker.",
        "nothing: another worker has it, or it was cancelled",
    ),
}


class Reason(NamedTuple):
    """A code with a sentence and a hint."""

    code: str
    sentence: str
    hint: str


def page() -> str:
    """The page, in Markdown."""
    rows = [f"| `{r.code}` | {_cell(r.sentence)} | {_cell(r.hint)} |" for r in sorted(find())]
    return _HEAD + "\n".join(rows) + "\n"


def find() -> set[Reason]:
    """One reason for each code."""
    root = Path(__file__).parent.parent
    files = [path for room in _ROOMS for path in sorted((root / room).rglob("*.py")) or [root / room]]
    found = {code: Reason(code, *said) for code, said in _BY_HAND.items()}
    for path in files:
        for reason in _of_tree(ast.parse(path.read_text())):
            known = found.get(reason.code)
            if known is None or (reason.hint and not known.hint):
                found[reason.code] = reason
    return set(found.values())


def _of_tree(tree: ast.AST) -> Iterator[Reason]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):  # codes as keys, told by a tuple
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(value, ast.Call) and _name(value) == "_Reason" and isinstance(key, ast.Constant):
                    yield Reason(str(key.value), *[_text(argument) for argument in [*value.args, *[_EMPTY] * 2][:2]])
        elif isinstance(node, ast.Call) and _name(node) in _KINDS and node.args:
            code = node.args[0]
            if isinstance(code, ast.Constant) and _CODE.fullmatch(str(code.value)):
                sentence = node.args[1] if len(node.args) > 1 else _EMPTY
                hint = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), _EMPTY)
                yield Reason(str(code.value), _text(sentence), _text(hint))


_EMPTY = ast.Constant("")


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _text(node: ast.expr) -> str:
    """The words of a string, with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value or "")
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "…"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
