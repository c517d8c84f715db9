"""Decode encoded windows: build prompts, generate tokens, align words.

In: the encoder's output and options. Out: text, timed words, and the engine's figures. The decoder half of `whisper`,
in the same process; it never encodes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import ctranslate2
import msgspec
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from convod.engine.echo import heard, may_be_echo
from convod.engine.word_times import whole_words
from convod.speech.agreement import begins_wide
from convod.speech.decoding import Hypothesis, Options, TimedWord

UNTIMED_FRAMES: Final = 1000
"""The built-in model decodes without timestamps only in greedy passes over shorter windows; elsewhere they are decoded
and left out of the text. They keep its beam from ending early and its decoder from skipping sentences. Words wrong,
beam of 5, with and without: single utterances 1.6 and 2.6 %, several joined 7 and 30 % (scripts/nano/evaluate). Stock
models never use them, because with timestamps they end windows seconds early. Words wrong of 121 recorded
utterances, tiny.en, beam of 5: 16.6 with and 15.0 % without; of joined windows 16.1 and 11.7 %, 133 and 53 of 1505
words missing."""

DOUBTFUL_LOGPROB: Final = -1.0
DOUBTFUL_RATIO: Final = 2.4

TOKENS_PER_SECOND: Final = 12
"""Speech has at most about 25 letters a second; this many tokens, plus a few, bound the cost of a loop."""

LIKELY_PER_SECOND: Final = 6
"""Most speech stays below this. A window of a file that has more to say is decoded again with the full limit; the
others can waste only half as much on a loop, or on text made of noise."""

MOST_TOKENS: Final = 224
"""Longest answer; Whisper was trained on none that is longer."""

WITHOUT_SPACES: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose words the tokenizer parts without regard to spaces."""

_PREPENDED: Final = "\"'“¿([{-"
_APPENDED: Final = "\"'.。,，!！?？:：”)]}、"


class Answers:
    """The decoder of `model`. `multilingual`: it knows several languages; `untimed`: never decode timestamps."""

    def __init__(self, model: WhisperModel, *, multilingual: bool, untimed: bool = False) -> None:
        self._model = model
        self._multilingual = multilingual
        self.untimed = untimed
        # The prompt of a session is that of each of its windows.
        self.tokens = lru_cache(maxsize=256)(self._text_tokens)

    def of(
        self,
        encoded: Any,
        lengths: list[int],
        languages: Sequence[str],
        options: Options,
        *,
        spoken: int,
        leads: Sequence[str | None] = (),
        temperature: float = 0.0,
        no_repeat: int = 0,
    ) -> list[Hypothesis]:
        """Decode a batch of encoded windows.

        Args:
            encoded: The encoder's output.
            lengths: Feature frames of each window.
            languages: The language of each window.
            options: How to decode.
            spoken: Frames of speech to leave room for.
            leads: The text said first in each window, None where there is none; the answer continues from there, and
                its words are timed from the window's start.
            temperature: Sample tokens at this temperature; 0 searches a beam.
            no_repeat: No sequence of this many tokens may occur twice; 0 allows all.
        """
        tokenizers = [self.tokenizer(language, options.task) for language in languages]
        most = min(MOST_TOKENS, 24 + math.ceil(spoken / 100 * TOKENS_PER_SECOND))
        first = most
        if options.deterministic and not no_repeat:
            first = min(most, 12 + math.ceil(spoken / 100 * LIKELY_PER_SECOND))
        previous = self.previous(options, self._model.max_length - most)
        untimed = self.untimed or (options.beam == 1 and max(lengths) <= UNTIMED_FRAMES)
        given = [self.tokens(lead or "") for lead in leads] or [[]] * len(lengths)
        prompts = [
            [*self._model.get_prompt(tokenizer, previous, without_timestamps=untimed), *tokens]
            for tokenizer, tokens in zip(tokenizers, given, strict=True)
        ]
        how: dict[str, Any] = {"beam_size": options.beam, "patience": 1}
        if temperature:
            how = {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}
        how |= {
            "suppress_tokens": get_suppressed_tokens(tokenizers[0], [-1]),
            "no_repeat_ngram_size": no_repeat,
            # Nothing may have been said after the lead.
            "suppress_blank": not any(given),
        }
        hypotheses, tokens = [], []
        for i, result in enumerate(self._generate(encoded, prompts, first, how)):
            one = self._read(result, given[i], tokenizers[i], languages[i], most)
            # It was cut off, and made sense so far.
            if first <= len(_answer_of(result, given[i])) < most and not doubtful(one):
                (result,) = self._generate(rows(encoded, [i]), [prompts[i]], most, how)
                one = self._read(result, given[i], tokenizers[i], languages[i], most)
            tokens.append([token for token in _answer_of(result, given[i]) if token < tokenizers[i].eot])
            hypotheses.append(one)
        if not options.words:
            return hypotheses
        hypotheses = self._aligned(encoded, tokenizers, given, tokens, lengths, hypotheses)
        bare = msgspec.structs.replace(options, prompt=None, hotwords=None)
        for i in [i for i, one in enumerate(hypotheses) if may_be_echo(one, options)]:
            (alone,) = self.of(
                rows(encoded, [i]), [lengths[i]], [languages[i]], bare,
                spoken=spoken, leads=leads[i : i + 1], temperature=temperature, no_repeat=no_repeat,
            )  # fmt: skip
            hypotheses[i] = heard(hypotheses[i], alone)
        return hypotheses

    def _generate(self, encoded: Any, prompts: list[list[int]], answer: int, how: dict[str, Any]) -> Any:
        """Return CTranslate2's results, one for each prompt, with room for `answer` tokens."""
        return self._model.model.generate(
            encoded,
            prompts,
            # CTranslate2 lets an answer have half of this, or what the prompt leaves of it if that is less.
            max_length=max(2 * answer, answer + max(map(len, prompts))),
            return_scores=True,
            return_no_speech_prob=True,
            **how,
        )

    def _read(self, result: Any, given: list[int], tokenizer: Tokenizer, language: str, most: int) -> Hypothesis:
        """Convert CTranslate2's result for a window whose answer had room for `most` tokens after the `given` ones."""
        ids = _answer_of(result, given)
        return Hypothesis(
            text=tokenizer.decode([token for token in ids if token < tokenizer.eot]).strip(),
            language=language,
            language_probability=1.0,
            # The score is the mean over the text's tokens; the end token counts as one more (as in
            # faster-whisper's generate_with_fallback).
            avg_logprob=result.scores[0] * len(ids) / (len(ids) + 1),
            no_speech_prob=result.no_speech_prob,
            truncated=len(ids) >= most,
        )

    def _aligned(
        self,
        encoded: Any,
        tokenizers: list[Tokenizer],
        given: list[list[int]],
        tokens_of: list[list[int]],
        lengths: list[int],
        hypotheses: list[Hypothesis],
    ) -> list[Hypothesis]:
        """Add the times of words, except of those that were given; hypotheses without words stay as they are."""
        some = [i for i in range(len(hypotheses)) if tokens_of[i]]
        if not some:
            return hypotheses
        if len({hypotheses[i].language for i in some}) > 1:
            # Words are split by the rules of one language.
            return [
                self._aligned(
                    rows(encoded, [i]), [tokenizers[i]], [given[i]], [tokens_of[i]], [lengths[i]], [hypotheses[i]]
                )[0]
                for i in range(len(hypotheses))
            ]
        if len(some) != len(hypotheses):
            encoded = rows(encoded, some)
        tokenizer = tokenizers[some[0]]
        aligned = hypotheses.copy()
        found = self._model.find_alignment(
            tokenizer, [[*given[i], *tokens_of[i]] for i in some], encoded, [lengths[i] for i in some]
        )
        for i, words in zip(some, found, strict=True):
            words = _after(words, len(given[i]))
            merge_punctuations(words, _PREPENDED, _APPENDED)
            end = lengths[i] / 100
            timed = [
                TimedWord(
                    start=round(min(end, float(word["start"])), 3),
                    end=round(min(end, float(word["end"])), 3),
                    word=word["word"],
                    probability=round(float(word["probability"]), 3),
                )
                for word in words
            ]
            spaced = tokenizer.language_code not in WITHOUT_SPACES
            aligned[i] = msgspec.structs.replace(hypotheses[i], words=whole_words(timed, spaced=spaced))
        return aligned

    def previous(self, options: Options, room: int) -> list[int]:
        """Return the tokens of hotwords and prompt, cut to fit in `room` with what else precedes the text.

        If they are too long, hotwords keep their beginning and the prompt its end, half of the room each if necessary:
        they must not take the text's own room.
        """
        # Around them go start-of-previous, start, language, task, and no-timestamps.
        room = max(0, min(self._model.max_length // 2 - 1, room - 5))
        hotwords, prompt = self.tokens(options.hotwords or ""), self.tokens(options.prompt or "")
        hotwords = hotwords[: max(room // 2, room - len(prompt))]
        return [*hotwords, *prompt[max(0, len(prompt) + len(hotwords) - room) :]]

    def _text_tokens(self, text: str) -> list[int]:
        """Tokenize a text without special tokens: a client's words are no orders.

        In scripts without spaces it is not preceded by one: with a space, base had 40.7 % of characters wrong in three
        joined Chinese utterances with leads, without it 39.5 %.
        """
        text = text.strip()
        if not text:
            return []
        ids = self._model.hf_tokenizer.encode(text if begins_wide(text) else f" {text}", add_special_tokens=False).ids
        end = self.tokenizer("en", "transcribe").eot
        return [token for token in ids if token < end]

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """Return Whisper's tokenizer for a language and a task."""
        return Tokenizer(self._model.hf_tokenizer, self._multilingual, task=task, language=language)


def array_of(encoded: Any) -> np.ndarray[Any, Any]:
    """Copy encoded windows to the processor's memory: (windows, positions, dimensions)."""
    if encoded.device != "cpu":
        encoded = encoded.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
    return np.array(encoded)


def rows(encoded: Any, which: list[int]) -> Any:
    """Select windows of an encoded batch."""
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array_of(encoded)[which]))


def _answer_of(result: Any, given: list[int]) -> list[int]:
    """Return the tokens of an answer without the given ones that it continues."""
    ids: list[int] = result.sequences_ids[0]
    return ids[len(given) :] if ids[: len(given)] == given else ids


def _after(words: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Drop the words that consist of the first `count` tokens."""
    at = 0
    while at < len(words) and count > 0:
        count -= len(words[at]["tokens"])
        at += 1
    return words[at:]


def repeats(hypothesis: Hypothesis) -> bool:
    """Whether a text repeats itself (as in faster-whisper)."""
    raw = hypothesis.text.encode()
    return bool(raw) and len(raw) / len(zlib.compress(raw)) > DOUBTFUL_RATIO


def doubtful(hypothesis: Hypothesis) -> bool:
    """Whether a second try may be better: the text is improbable, or repeats itself (as in faster-whisper)."""
    return hypothesis.avg_logprob < DOUBTFUL_LOGPROB or repeats(hypothesis)
