"""Encoded windows to their answers: what is asked before the text, its tokens, the times of its words.

In: what the encoder made of windows, options. Out: text, words, and the engine's figures. The decoder's side of
`whisper`, for the same process; it never encodes.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import Any, Final

import ctranslate2
import msgspec
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from convod.engine.wire import Heard, HeardPiece, HeardWord, Options

UNTIMED_FRAMES: Final = 1000
"""Only greedy passes over shorter windows do without timestamps; elsewhere they are decoded and left out of the text.
They keep a beam from ending early and a decoder from passing over sentences. Words wrong, built-in model, beam of 5,
with and without: single utterances 1.6 and 2.6 %, several joined 7 and 30 % (scripts/nano/evaluate)."""

DOUBTFUL_LOGPROB: Final = -1.0
DOUBTFUL_RATIO: Final = 2.4

TOKENS_PER_SECOND: Final = 12
"""Speech has at most about 25 letters a second; this many tokens and a few more bound a loop's cost."""

LIKELY_PER_SECOND: Final = 6
"""What most speech stays below. A window of a file that has more to say is heard once more, with all its room: half as
much for each of them to fill with a loop, or with what a model makes of no speech."""

MOST_TOKENS: Final = 224
"""Of an answer; Whisper was trained on no longer ones."""

TIMESTAMP_S: Final = 0.02
"""Seconds from one timestamp token to the next."""

_PREPENDED: Final = "\"'“¿([{-"
_APPENDED: Final = "\"'.。,，!！?？:：”)]}、"


class Answers:
    """What `model` answers, one of many languages if it is `multilingual`."""

    def __init__(self, model: WhisperModel, *, multilingual: bool) -> None:
        self._model = model
        self._multilingual = multilingual
        # The prompt of a session is that of each of its windows.
        self._tokens = lru_cache(maxsize=256)(self._text_tokens)

    def of(
        self,
        encoded: Any,
        lengths: list[int],
        language: str,
        options: Options,
        *,
        spoken: int,
        temperature: float = 0.0,
        no_repeat: int = 0,
    ) -> list[Heard]:
        """The answers to encoded windows of so many frames each, with room for `spoken` frames of speech.

        With a `temperature` tokens are drawn, else a beam is searched; with `no_repeat` no so many of them in a row
        come twice.
        """
        tokenizer = self.tokenizer(language, options.task)
        most = min(MOST_TOKENS, 24 + math.ceil(spoken / 100 * TOKENS_PER_SECOND))
        first = most
        if options.steady and not no_repeat:
            first = min(most, 12 + math.ceil(spoken / 100 * LIKELY_PER_SECOND))
        prompt = self._model.get_prompt(
            tokenizer,
            self._previous(options, self._model.max_length - most),
            without_timestamps=options.beam == 1 and max(lengths) <= UNTIMED_FRAMES and not options.pieces,
        )
        how: dict[str, Any] = {"beam_size": options.beam, "patience": 1}
        if temperature:
            how = {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}
        how |= {
            "suppress_tokens": get_suppressed_tokens(tokenizer, [-1]),
            "no_repeat_ngram_size": no_repeat,
        }
        heard, tokens = [], []
        for i, (result, length) in enumerate(
            zip(self._generate(encoded, len(lengths), prompt, first, how), lengths, strict=True)
        ):
            one = self._read(result, tokenizer, language, length, options)
            # It was cut off while it made sense.
            if first <= len(result.sequences_ids[0]) < most and not doubtful(one):
                (result,) = self._generate(_rows(encoded, [i]), 1, prompt, most, how)
                one = self._read(result, tokenizer, language, length, options)
            tokens.append([token for token in result.sequences_ids[0] if token < tokenizer.eot])
            heard.append(one)
        if not options.words:
            return heard
        if not options.steady:
            return self._aligned(encoded, tokenizer, tokens, lengths, heard)
        # One by one: alignment looks at as many frames of each window as the longest of a batch has.
        return [
            self._aligned(_rows(encoded, [i]), tokenizer, tokens[i : i + 1], lengths[i : i + 1], heard[i : i + 1])[0]
            for i in range(len(heard))
        ]

    def _generate(self, encoded: Any, count: int, prompt: list[int], answer: int, how: dict[str, Any]) -> Any:
        """CTranslate2's results for `count` windows, each with room for `answer` tokens."""
        return self._model.model.generate(
            encoded,
            [prompt] * count,
            # CTranslate2 lets an answer have half of this, or what the prompt leaves of it if that is less.
            max_length=max(2 * answer, answer + len(prompt)),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            **how,
        )

    def _read(self, result: Any, tokenizer: Tokenizer, language: str, length: int, options: Options) -> Heard:
        """What CTranslate2 gave for a window of `length` frames."""
        ids = result.sequences_ids[0]
        return Heard(
            text=tokenizer.decode([token for token in ids if token < tokenizer.eot]).strip(),
            language=language,
            language_probability=1.0,
            # The score is the mean over the text's tokens; the end token counts as one more (as in
            # faster-whisper's generate_with_fallback).
            avg_logprob=result.scores[0] * len(ids) / (len(ids) + 1),
            no_speech_prob=result.no_speech_prob,
            pieces=_pieces(ids, tokenizer, length) if options.pieces else None,
        )

    def _aligned(
        self, encoded: Any, tokenizer: Tokenizer, tokens_of: list[list[int]], lengths: list[int], heard: list[Heard]
    ) -> list[Heard]:
        """The same with the times of their words; without, where there are none."""
        some = [i for i in range(len(heard)) if tokens_of[i]]
        if not some:
            return heard
        if len(some) != len(heard):
            encoded = _rows(encoded, some)
        aligned = heard.copy()
        found = self._model.find_alignment(tokenizer, [tokens_of[i] for i in some], encoded, max(lengths))
        for i, words in zip(some, found, strict=True):
            merge_punctuations(words, _PREPENDED, _APPENDED)
            end = lengths[i] / 100
            timed = [
                HeardWord(
                    start=round(min(end, float(word["start"])), 3),
                    end=round(min(end, float(word["end"])), 3),
                    word=word["word"].strip(),
                    probability=round(float(word["probability"]), 3),
                )
                for word in words
                if word["word"].strip()
            ]
            aligned[i] = msgspec.structs.replace(heard[i], words=timed)
        return aligned

    def _previous(self, options: Options, room: int) -> list[int]:
        """Tokens of hotwords and prompt that stand before the text, where all that comes before it has `room`.

        Of what is too long, hotwords keep their beginning and the prompt its end, half of the room each if need be:
        the text's own room is not theirs to take.
        """
        # Before and after them stand start-of-previous, start, language, task, and no-timestamps.
        room = max(0, min(self._model.max_length // 2 - 1, room - 5))
        hotwords, prompt = self._tokens(options.hotwords or ""), self._tokens(options.prompt or "")
        hotwords = hotwords[: max(room // 2, room - len(prompt))]
        return [*hotwords, *prompt[max(0, len(prompt) + len(hotwords) - room) :]]

    def _text_tokens(self, text: str) -> list[int]:
        """Tokens of a client's text, none of them special: its words are no orders."""
        if not text.strip():
            return []
        ids = self._model.hf_tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        end = self.tokenizer("en", "transcribe").eot
        return [token for token in ids if token < end]

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """Whisper's tokens for a language and a task."""
        return Tokenizer(self._model.hf_tokenizer, self._multilingual, task=task, language=language)


def _rows(encoded: Any, which: list[int]) -> Any:
    """Some windows of a batch that is encoded."""
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.array(encoded)[which]))


def _pieces(ids: list[int], tokenizer: Tokenizer, frames: int) -> list[HeardPiece]:
    """A text with its timestamp tokens to pieces: each ends at the first timestamp after its words, and the next one
    begins at the last before its own (Whisper writes both, `<|3.20|><|3.40|>`).
    """
    begin = tokenizer.timestamp_begin
    pieces: list[HeardPiece] = []
    tokens: list[int] = []
    start, latest = 0.0, frames / 100

    def close(end: float) -> None:
        if text := tokenizer.decode(tokens).strip():
            pieces.append(HeardPiece(start=round(start, 3), end=round(max(start, min(end, latest)), 3), text=text))

    for token in ids:
        if token >= begin:
            time = (token - begin) * TIMESTAMP_S
            if tokens:
                close(time)
                tokens = []
            start = min(time, latest)
        elif token < tokenizer.eot:
            tokens.append(token)
    close(latest)
    return pieces


def doubtful(heard: Heard) -> bool:
    """Whether a second try may be better: it is of guesses, or says things again and again (as in faster-whisper)."""
    raw = heard.text.encode()
    ratio = len(raw) / len(zlib.compress(raw)) if raw else 0.0
    return heard.avg_logprob < DOUBTFUL_LOGPROB or ratio > DOUBTFUL_RATIO
