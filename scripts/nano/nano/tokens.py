"""The tokenizer: byte-level BPE of about 1,100 tokens, and the special ones that Whisper's decoders look up by name.

Comes in: sentences (`build`) or a `tokenizer.json` (`Vocabulary.read`). Goes out: token ids.

A lone space must never be a token of a text: faster-whisper suppresses the first tokens of `" -"` and `" '"`
throughout, and the blank at the start; in a plain small BPE all three are the bare space, and every word becomes
unreachable. So the merges of the space with each printable character come first.
"""

import collections
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

#: Timestamps are 20 ms apart, 0.00 to 30.00 s.
TIMESTAMPS = 1501
#: In this order, the timestamps directly behind: CTranslate2 and faster-whisper count on it. English-only, being under
#: 51,865 tokens.
SPECIAL = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    *(f"<|{i * 0.02:.2f}|>" for i in range(TIMESTAMPS)),
]  # fmt: skip
_SPACE = "Ġ"  # how byte-level BPE writes a space


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the ids the rest of the recipe needs."""

    tokenizer: Tokenizer
    size: int
    end: int
    start: int
    previous: int
    no_speech: int
    no_timestamps: int
    first_timestamp: int
    english: int
    space: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        ids = [
            tokenizer.token_to_id(t)
            for t in (SPECIAL[0], SPECIAL[1], SPECIAL[6], SPECIAL[7], SPECIAL[8], SPECIAL[9], SPECIAL[2], _SPACE)
        ]
        found = [i for i in ids if i is not None]
        if len(found) < len(ids):
            raise ValueError("the tokenizer lacks a special token of Whisper")
        return cls(tokenizer, tokenizer.get_vocab_size(), *found)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of the `tokenizer.json` in a model's folder."""
        return cls.of(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def padded(self, size: int) -> Self:
        """The same with unused tokens behind the last timestamp, `size` in all; unchanged if it has as many."""
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.add_special_tokens([f"<|unused{i}|>" for i in range(size - self.size)])
        return type(self).of(tokenizer)

    def text(self, text: str) -> list[int]:
        """Ids of a text, the space before its first word included."""
        return list(self.tokenizer.encode(" " + text.strip()).ids)

    def inside(self, text: str) -> list[int]:
        """Ids of the rest of a word, without a space before it."""
        return list(self.tokenizer.encode(text).ids)

    def timestamp(self, seconds: float) -> int:
        return self.first_timestamp + max(0, min(TIMESTAMPS - 1, round(seconds * 50)))

    def names(self) -> list[str]:
        """Every token by id."""
        return [str(self.tokenizer.id_to_token(i)) for i in range(self.size)]


def build(texts: Iterable[str], size: int = 1100) -> Tokenizer:
    """Train the BPE on `texts` (its own few lines: the library's trainer cannot be told which merges come first)."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = collections.Counter(word for text in texts for word, _ in split.pre_tokenize_str(" " + text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(_SPACE, c) for c in alphabet if c != _SPACE and ord(c) < 127]
    vocabulary = [*alphabet, *(_SPACE + c for _, c in merges)]
    pieces = {w: ((_SPACE + w[1], *w[2:]) if w[0] == _SPACE and len(w) > 1 else tuple(w)) for w in words}
    while len(vocabulary) < size:
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                pairs[pair] += count
        best, count = max(pairs.items(), key=lambda item: (item[1], item[0]), default=(("", ""), 0))
        if count < 2:
            break
        merges.append(best)
        vocabulary.append("".join(best))
        pieces = {word: _merged(piece, best) for word, piece in pieces.items()}
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(dict.fromkeys(vocabulary))}, merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def _merged(piece: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for part in piece:
        # Left to right, each part in at most one merge.
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)
