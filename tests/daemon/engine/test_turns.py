"""Turns within a window: voices that follow each other without a pause, and whose each word is."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from convod.engine.embedder import WhenAsked
from convod.engine.turns import changes, numbered
from convod.engine.wire import Work
from convod.speech.decoding import CHUNK_S, Hypothesis, Options, TimedWord, Voiceprints, Window
from tests.support.embedder import write_embedder
from tests.support.speech import pcm

WINDOW_S = 1.6
HOP_S = 0.8
ALIKE = 0.55
"""The cosine of two voices, as it is between people (GE2E: 0.74 at most)."""


def voices(count: int) -> np.ndarray:
    """Voices of length 1 with that cosine to each other."""
    own = np.eye(count + 1, 256)[:count] * np.sqrt(1 - ALIKE)
    own[:, count] = np.sqrt(ALIKE)
    return own


def heard(turns: str, lengths: list[float], unlike: float = 0.25) -> tuple[Voiceprints, bytes]:
    """The embeddings of turns in a row, by the letters of their speakers; none is quite like the voice it is of."""
    rng = np.random.default_rng(0)
    own = voices(8)
    times = np.cumsum([0.0, *lengths])
    starts = [float(start) for start in np.arange(0, times[-1] - WINDOW_S + 0.01, HOP_S)]
    vectors = []
    for start in starts:
        shares = [max(0.0, min(end, start + WINDOW_S) - max(begin, start)) / WINDOW_S for begin, end in pairwise(times)]
        vector = sum(share * own["ABCDEF".index(turn)] for share, turn in zip(shares, turns, strict=True))
        vector = vector / np.linalg.norm(vector) + unlike * rng.standard_normal(256) / 16
        vectors.append((vector / np.linalg.norm(vector)).astype("<f4").tobytes())
    return Voiceprints(starts=starts, window_s=WINDOW_S, vectors=vectors), bytes([1]) * int(times[-1] / CHUNK_S)


def said(text: str, begin: float = 0.0, word_s: float = 0.4) -> list[TimedWord]:
    """Words without pauses, each so long."""
    return [
        TimedWord(start=begin + i * word_s, end=begin + (i + 1) * word_s, word=word, probability=0.9)
        for i, word in enumerate(text.split())
    ]


# --- when -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "lengths"),
    [
        ("AB", [4.0, 4.0]),
        ("AB", [3.7, 2.9]),
        ("AB", [10.3, 12.4]),
        ("ABA", [4.0, 2.6, 5.0]),
        ("ABC", [3.3, 3.8, 4.1]),
        ("ABCDEF", [3.7, 3.4, 3.5, 5.3, 3.4, 3.0]),
        # Too short to be sure of alone, but not once both voices are known.
        ("ABAB", [5.0, 5.0, 1.9, 5.0]),
    ],
)
def test_another_voice_is_found_when_it_begins(turns, lengths):
    prints, voiced = heard(turns, lengths)
    assert changes(prints, voiced) == pytest.approx(list(np.cumsum(lengths))[:-1], abs=0.3)


@pytest.mark.parametrize("unlike", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("seconds", [0.5, 1.6, 2.4, 5.0, 28.0])
def test_one_speaker_is_never_cut(seconds, unlike):
    prints, voiced = heard("A", [seconds], unlike)
    assert changes(prints, voiced) == []


def test_a_pause_is_nobodys_voice():
    """What an embedder makes of a pause in what one speaker says is as unlike them as another speaker."""
    prints, voiced = heard("ABA", [5.0, 3.2, 5.0])
    assert changes(prints, voiced)
    begin, end = int(5.0 / CHUNK_S), int(8.2 / CHUNK_S)
    assert changes(prints, voiced[:begin] + bytes(end - begin) + voiced[end:]) == []


def test_windows_without_an_embedding_are_left_out():
    prints, voiced = heard("AB", [4.0, 4.0])
    none = msgspec.structs.replace(prints, vectors=[b""] * len(prints.vectors))
    assert changes(none, voiced) == []
    assert changes(prints, b"") == []
    some = msgspec.structs.replace(prints, vectors=[b"", *prints.vectors[1:]])
    assert changes(some, voiced) == pytest.approx([4.0], abs=0.3)


# --- whose words ------------------------------------------------------------------------------------------


def test_a_turn_begins_with_a_word():
    prints, voiced = heard("AB", [4.1, 4.3])
    turns = [word.turn for word in numbered(said("a " * 21), prints, voiced)]
    assert turns == [0] * 10 + [1] * 11


def test_a_turn_rather_begins_with_a_sentence():
    prints, voiced = heard("AB", [4.2, 4.2])
    words = said("a a a a a a a a a a. b b b b b b b b b b b")
    assert [word.turn for word in numbered(words, prints, voiced)] == [0] * 10 + [1] * 11
    words = said("a a a a a a a a a. b b b b b b b b b b b b")
    assert [word.turn for word in numbered(words, prints, voiced)] == [0] * 9 + [1] * 12


def test_a_turn_rather_begins_behind_a_pause():
    prints, voiced = heard("AB", [4.2, 4.2])
    words = [*said("a " * 9), *said("b " * 11, begin=4.0)]
    assert [word.turn for word in numbered(words, prints, voiced)] == [0] * 9 + [1] * 11


@pytest.mark.parametrize("words", [[], said("a"), said("a b", begin=0.0), said("a b", begin=7.0)])
def test_where_no_word_is_near_nothing_is_cut(words):
    prints, voiced = heard("AB", [4.0, 4.0])
    assert numbered(words, prints, voiced) == words


# --- in the worker ----------------------------------------------------------------------------------------


def test_the_worker_numbers_the_turns_where_it_knows_the_voice(tmp_path):
    audio = pcm("talk.flac")[2 * 16000 * 4 : 2 * 16000 * 13]  # Laura to second 2.1, David from 2.7 on
    work = Work(windows=[Window(audio=audio, voiceprints=True)], rate=16000, options=Options())
    hypothesis = Hypothesis(
        text="so " * 22,
        language="en",
        language_probability=1.0,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        words=said("so " * 22),
        voiced=bytes([1]) * int(9.0 / CHUNK_S),
    )
    embedder = WhenAsked(str(write_embedder(tmp_path / "voices.onnx")))
    (found,) = embedder.with_voiceprints(work, [hypothesis])
    turns = [word.turn for word in found.words or []]
    assert turns[:5] == [0] * 5
    assert turns[8:] == [1] * 14
    unknown = msgspec.structs.replace(hypothesis, voiced=None)
    (found,) = embedder.with_voiceprints(work, [unknown])
    assert found.words == hypothesis.words
    unasked = Work(windows=[Window(audio=audio)], rate=16000, options=Options())
    assert embedder.with_voiceprints(unasked, [hypothesis]) == [hypothesis]
