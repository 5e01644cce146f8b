"""Where tokens begin in a text, by a tokenizer file or by estimate."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from drystone.core.errors import Invalid

# Characters tokenised at once. The tokenizer's bookkeeping takes about a hundred bytes a character.
_SLICE_CHARS = 65_536


def open_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, reading whole texts and taking them literally."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text, not a command
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> Any:
    """The text's tokens without special ones. Raises Invalid for lone surrogates."""
    check_unicode(text)
    return tokenizer.encode(text, add_special_tokens=False)


def is_mostly_in(script: str, text: str) -> bool:
    """Whether at least half of the text's letters, if it has any, are of this script, such as Latin."""
    letters = [char for char in text if char.isalpha()]
    return 2 * sum(unicodedata.name(char, "").startswith(script.upper()) for char in letters) >= len(letters)


def check_unicode(text: str) -> None:
    """Raises Invalid for a text that is not Unicode (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise Invalid("embedding.not_unicode", "The text holds half a surrogate pair, which is no character.") from exc


def token_starts(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Where the tokens begin: int64 offsets in code points, never decreasing."""
    parts = [np.empty(0, np.int64)]
    for start, end in _slices(text):
        part = text[start:end]
        offsets = encode(tokenizer, part).offsets
        parts.append(_past_spaces(part, np.fromiter((offset[0] for offset in offsets), np.int64, len(offsets))) + start)
    return np.concatenate(parts)


def _past_spaces(text: str, starts: np.ndarray) -> np.ndarray:
    """The same starts, but at a word where a token begins with the space before it, as SentencePiece's do."""
    signs = np.fromiter((at for at, sign in enumerate(text) if not sign.isspace()), np.int64)
    if not len(signs):
        return starts
    following = np.searchsorted(signs, starts)
    return np.where(following < len(signs), signs[np.minimum(following, len(signs) - 1)], starts)


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text where no token can lie across: before white space. A run without any is cut hard."""
    start = 0
    while start < len(text):
        end = min(start + _SLICE_CHARS, len(text))
        if end < len(text):
            end = next((at for at in range(end, max(start, end - 1000), -1) if text[at].isspace()), end)
        yield start, end
        start = end


# Four letters or digits of Latin, Greek or Cyrillic count one token, every other character one each. English has about
# five letters a token in the bundled vocabulary and in larger ones: this errs towards smaller chunks.
_ESTIMATED_TOKEN = re.compile(r"[^\W_\u0530-\U0010ffff]{1,4}|\S")


def estimated_token_starts(text: str) -> np.ndarray:
    """As token_starts, for a model whose tokenizer is not at hand."""
    return np.fromiter((match.start() for match in _ESTIMATED_TOKEN.finditer(text)), np.int64)
