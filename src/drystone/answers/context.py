"""What answers are made with."""

from __future__ import annotations

from dataclasses import dataclass, field

from drystone.adapters.chat import Chat
from drystone.core.turnstile import Turnstile
from drystone.search.context import Searcher

# How long a question waits for its turn with the model.
WAIT_S = 2.0


@dataclass(frozen=True)
class Answerer:
    """Made once a process. chat: None where no model is configured. context_tokens: of passages that it is shown."""

    searcher: Searcher
    chat: Chat | None = None
    context_tokens: int = 4000
    turns: Turnstile = field(default_factory=lambda: Turnstile(4, wait_s=WAIT_S, what="answers"))
