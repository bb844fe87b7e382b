"""Tokens: turning texts into them as a checkpoint's own tokenizer does, by Hugging Face's ``tokenizers``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.checkpoint import CONFIG as MODEL_CONFIG
from pytest_edgeai.language.checkpoint import TOKENIZER, no_tokenizer

if TYPE_CHECKING:
    from pytest_edgeai.protocols import Generator


CONFIG: Final = "tokenizer_config.json"
"""Of the tokenizer: which tokens mark what."""


class Tokenizer:
    """Of a folder. Satisfies :class:`pytest_edgeai.protocols.Tokenizer`. Raises ModelError where it has none, or one that can't be read."""

    def __init__(self, folder: Path) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise ModelError(
                "Texts are turned into tokens by Hugging Face's tokenizers, which is not installed: pip install tokenizers."
            ) from error

        self._folder = folder
        file = folder / TOKENIZER
        if not file.is_file():
            raise ModelError(no_tokenizer(folder.name))
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"{file} can't be read as a tokenizer ({error}).") from error
        # Some cut or pad what they are given.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # What looks like a special token in a text is text, as it is for llama.cpp.
        self._tokenizer.encode_special_tokens = True

    @property
    def size(self) -> int:
        """Numbers that tokens may have, added ones included."""
        return max(self._tokenizer.get_vocab().values(), default=-1) + 1

    def encode(self, text: str) -> NDArray[np.int32]:
        """The tokens of a text, without any that mark its begin or end."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    @property
    def begin(self) -> tuple[int, ...]:
        """Tokens that it would put before a text by itself."""
        return put_before(self.encode("a").tolist(), self._tokenizer.encode("a").ids)

    @property
    def mark(self) -> int | None:
        """The token of a text's begin, else of its end, by the tokenizer's own file or the model's; ``None`` where neither names one."""
        named, numbered = (self._told(file, what) for file, what in ((CONFIG, "token"), (MODEL_CONFIG, "token_id")))
        texts = [one.get("content") if isinstance(one, dict) else one for one in named]
        found = [self._tokenizer.token_to_id(text) for text in texts if isinstance(text, str)]
        found += [one[0] if isinstance(one, list) and one else one for one in numbered]
        return next((number for number in found if isinstance(number, int)), None)

    def _told(self, file: str, what: str) -> list[Any]:
        """Of the begin and of the end."""
        try:
            told = json.loads((self._folder / file).read_bytes())
            return [told.get(f"{which}_{what}") for which in ("bos", "eos")]
        except (OSError, ValueError, AttributeError):
            return []

    def vocabulary(self) -> dict[int, str]:
        """Number -> token, as the file writes it."""
        return {number: text for text, number in self._tokenizer.get_vocab().items()}


def put_before(plain: Sequence[int], marked: Sequence[int]) -> tuple[int, ...]:
    """What a tokenizer puts before a text: the tokens of ``marked`` before those of ``plain``, which are the text's own."""
    places = (place for place in range(len(marked)) if list(marked[place : place + len(plain)]) == list(plain))
    return tuple(marked[: next(places, 0)])


def demand_fitting(generator: "Generator", tokens: NDArray[np.integer[Any]], more: int = 0) -> None:
    """Raises ModelError where there are no tokens, some that the model doesn't have, or more (with those that it is to add) than it attends to.

    Engines take such ones in silence, or die of them.
    """
    if not len(tokens):
        raise ModelError("A language model was given no tokens at all.")
    if not 0 <= tokens.min() <= tokens.max() < generator.vocabulary:
        wrong = tokens.max() if tokens.min() >= 0 else tokens.min()
        raise ModelError(
            f"The model has no token number {wrong}, only {generator.vocabulary} of them: its tokenizer is another model's."
        )
    if len(tokens) + more > generator.context:
        told = f"{len(tokens)} tokens and {more} more" if more else f"{len(tokens)} tokens"
        raise ModelError(f"{told} are more than the {generator.context} that this model attends to.")
