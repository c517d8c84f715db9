"""Models made for windows of 30 s, which the built-in one is taken for: times, silence behind, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convod.engine.gaps import GAP_PREROLL_S, MOST_GAPS
from convod.engine.whisper import Whisper
from convod.engine.wire import FULL_FRAMES, bucket
from convod.speech.decoding import CHUNK_S, FINAL_MARGIN, INTERIM_MARGIN, Hypothesis, Lead, Options, TimedWord
from tests.daemon.support.ears import model
from tests.daemon.support.whispers import RATE, SINGLE, TALKATIVE, Core, decode, hear, ranked, watched
from tests.support.speech import pcm

# --- a stock model ----------------------------------------------------------------------------------------

TALK = pcm("talk.flac")[: 2 * 9 * RATE]
EARLIER = Lead(audio=SINGLE, text="Grace will review the contract.")


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Whisper:
    """The built-in model, taken for one that is made for windows of 30 s; each of its texts is whole."""
    whisper = model()
    monkeypatch.setattr(whisper, "context", "full")
    monkeypatch.setattr(whisper.answers, "untimed", True)
    monkeypatch.setattr("convod.engine.whisper.uncovered", lambda words, voiced: None)
    return whisper


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("words", [False, True])
def test_of_a_stock_model_no_times_are_asked_before_the_text(
    core: Core, stock: Whisper, beam: int, words: bool
) -> None:
    hear(TALK, beam=beam, words=words)
    untimed = stock.model.hf_tokenizer.token_to_id("<|notimestamps|>")
    assert {asked["prompts"][0][-1] for asked in core.generated} == {untimed}
    # Whether its text is whole is told by its words.
    assert len(core.aligned) == (beam > 1 or words)


def test_the_built_in_model_is_asked_for_times_with_a_beam(core: Core) -> None:
    hear(TALK, beam=5)
    untimed = model().model.hf_tokenizer.token_to_id("<|notimestamps|>")
    assert untimed not in core.generated[0]["prompts"][0]


@pytest.mark.parametrize("seconds", [0.7, 5.0, 19.0, 28.0])
@pytest.mark.parametrize("margin", [INTERIM_MARGIN, FINAL_MARGIN, None])
def test_a_window_has_the_silence_behind_it_that_was_asked_for(
    core: Core, stock: Whisper, seconds: float, margin: int | None
) -> None:
    hear((SINGLE * 10)[: 2 * round(seconds * RATE)], check_voice=False, beam=1, margin=margin)
    ((_, _, frames),) = core.encoded
    asked = FULL_FRAMES if margin is None else round(seconds * 100) + margin
    assert min(asked, FULL_FRAMES) <= frames <= min(asked + 100, FULL_FRAMES)
    assert frames % 100 == 0


def test_the_built_in_model_has_a_margin_of_its_own(core: Core) -> None:
    hear(TALK, beam=1, margin=FINAL_MARGIN)
    assert core.encoded[0][-1] == bucket(900)


LED, ALONE, FULL = bucket(900 + len(SINGLE) // 320, FINAL_MARGIN), bucket(900, FINAL_MARGIN), FULL_FRAMES


@pytest.mark.parametrize(
    ("lead", "margin", "scores", "tries"),
    [
        (None, FINAL_MARGIN, [-0.2], [(ALONE, 0)]),
        (EARLIER, FINAL_MARGIN, [-0.2], [(LED, 0)]),
        (EARLIER, FINAL_MARGIN, [-1.5, -0.2], [(LED, 0), (ALONE, 0)]),
        (EARLIER, FINAL_MARGIN, [-1.5, -1.5, -0.2], [(LED, 0), (ALONE, 0), (FULL, 0)]),
        (EARLIER, FINAL_MARGIN, [-1.5] * 4, [(LED, 0), (ALONE, 0), (FULL, 0), (FULL, 4)]),
        (None, FINAL_MARGIN, [-1.5] * 3, [(ALONE, 0), (FULL, 0), (FULL, 4)]),
        (None, FINAL_MARGIN, [-9.0] * 3, [(ALONE, 0), (FULL, 0)]),  # a guess from end to end
        (EARLIER, None, [-1.5] * 3, [(FULL, 0), (FULL, 0), (FULL, 4)]),
        (None, None, [-1.5] * 2, [(FULL, 0), (FULL, 4)]),
    ],
)
def test_a_doubtful_window_is_tried_alone_then_in_full_then_without_loops(
    core: Core,
    stock: Whisper,
    lead: Lead | None,
    margin: int | None,
    scores: list[float],
    tries: list[tuple[int, int]],
) -> None:
    core.scores = list(scores)
    (heard,) = decode(stock, [TALK], RATE, Options(margin=margin), leads=[lead])
    assert [
        (shape[-1], asked["no_repeat_ngram_size"]) for shape, asked in zip(core.encoded, core.generated, strict=True)
    ] == tries
    given = stock.answers.tokens(EARLIER.text)
    behind = [asked["prompts"][0][-len(given) :] == given for asked in core.generated]
    assert behind == [lead is not None, *[False] * (len(tries) - 1)]
    # Behind a lead nothing more may have been said.
    assert [asked["suppress_blank"] for asked in core.generated] == [not led for led in behind]
    assert all("sampling_temperature" not in asked for asked in core.generated)
    assert heard.avg_logprob > 1.2 * max(scores)


def test_of_several_doubtful_texts_the_best_stays(core: Core, stock: Whisper) -> None:
    core.scores = [-1.5, -1.2, -1.4]
    assert hear(TALK, margin=FINAL_MARGIN).avg_logprob == pytest.approx(-1.2, rel=0.1)


@pytest.mark.parametrize("beam", [1, 5])
def test_windows_with_and_without_what_comes_before_are_one_batch(core: Core, stock: Whisper, beam: int) -> None:
    leads = [EARLIER, None, Lead(audio=SINGLE[: 2 * RATE], text="Grace"), Lead(audio=SINGLE, text=TALKATIVE[:200])]
    options = Options(beam=beam, margin=FINAL_MARGIN, words=True)
    together = decode(stock, [TALK] * 4, RATE, options, leads=leads)
    assert len(core.generated[0]["prompts"]) == 4
    core.scores = []
    for one, lead in zip(together, leads, strict=True):
        (alone,) = decode(stock, [TALK], RATE, options, leads=[lead])
        assert one.text == alone.text


def test_an_interim_of_a_stock_model_is_tried_once(core: Core, stock: Whisper) -> None:
    core.scores = [-1.5]
    decode(stock, [TALK], RATE, Options(beam=1, margin=INTERIM_MARGIN), leads=[EARLIER])
    assert len(core.generated) == 1


@pytest.mark.parametrize(
    ("lead", "window", "led"),
    [
        (EARLIER, TALK, True),
        (Lead(audio=SINGLE, text=" "), TALK, False),
        (Lead(audio=TALK, text="Grace."), (SINGLE * 10)[: 2 * 21 * RATE], False),  # more than 30 s
    ],
)
def test_what_comes_before_is_put_there_if_it_fits_and_has_a_text(
    core: Core, stock: Whisper, lead: Lead, window: bytes, led: bool
) -> None:
    decode(stock, [window], RATE, Options(beam=1), leads=[lead])
    given = stock.answers.tokens("Grace")
    (asked,) = core.generated
    assert bool(set(given) & set(asked["prompts"][0])) is led


@pytest.mark.parametrize(
    ("behind", "alone", "language", "led"),
    [
        ("de", None, "de", True),  # what is encoded tells enough
        ("ko", "ko", "ko", False),
        ("ko", "de", "de", True),
    ],
)
def test_a_language_is_detected_without_the_lead_which_is_left_out_if_it_is_in_another(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch, behind: str, alone: str | None, language: str, led: bool
) -> None:
    monkeypatch.setattr(polyglot, "context", "full")
    monkeypatch.setattr(polyglot.voice, "chunks", lambda samples: np.ones(-(-samples.size // 512), np.float32))
    core = watched(polyglot, monkeypatch)
    core.languages = [ranked(found, 0.95) for found in (behind, alone) if found]
    options = Options(beam=1, margin=FINAL_MARGIN)
    (heard,) = decode(polyglot, [TALK], RATE, options, leads=[EARLIER], expected=["de"])
    assert (heard.language, core.detected, len(core.encoded)) == (language, 1 + bool(alone), 1 + bool(alone))
    (asked,) = core.generated
    given = polyglot.answers.tokens(EARLIER.text)
    assert (asked["prompts"][0][-len(given) :] == given) is led


PHRASES = [(0.2, 2.8), (3.2, 5.8), (6.2, 8.8)]
"""When there is a voice in TALK: it may be divided at seconds 3 and 6."""


@pytest.fixture
def listening(polyglot: Whisper, monkeypatch: pytest.MonkeyPatch) -> Core:
    """The polyglot, taken for a stock model, with a voice in PHRASES; none of its texts is tried again."""

    def chunks(samples: Any) -> Any:
        times = (np.arange(-(-samples.size // 512)) + 0.5) * CHUNK_S
        return np.array([any(start <= time < end for start, end in PHRASES) for time in times], np.float32)

    monkeypatch.setattr(polyglot, "context", "full")
    monkeypatch.setattr(polyglot.voice, "chunks", chunks)
    monkeypatch.setattr("convod.engine.whisper.uncovered", lambda words, voiced: None)
    monkeypatch.setattr("convod.engine.whisper.is_doubtful", lambda text: False)
    return watched(polyglot, monkeypatch)


def languages_asked(whisper: Whisper, core: Core) -> list[str]:
    tokens = {whisper.model.hf_tokenizer.token_to_id(f"<|{code}|>"): code for code in ("en", "de", "ko")}
    return [
        next(tokens[id] for id in prompt if id in tokens) for asked in core.generated for prompt in asked["prompts"]
    ]


DE, KO = ranked("de", 0.99), ranked("ko", 0.999)


@pytest.mark.parametrize(
    ("found", "passages"),
    [
        ([DE, KO, DE], [("de", 3.0), ("ko", 6.0), ("de", 9.0)]),
        ([DE, KO, KO], [("de", 3.0), ("ko", 9.0)]),
        ([DE, DE, DE], []),
        ([DE, ranked("ko", 0.4), DE, DE], []),  # encoded by itself, it is the same one
        ([DE, ranked("ko", 0.4), DE, KO], [("de", 3.0), ("ko", 6.0), ("de", 9.0)]),
    ],
)
@pytest.mark.parametrize("beam", [1, 5])
def test_each_passage_of_a_window_is_decoded_in_its_language(
    polyglot: Whisper, listening: Core, beam: int, found: list[Any], passages: list[tuple[str, float]]
) -> None:
    core = listening
    core.languages = [*found, ranked("ko", 0.9)]
    windows, expected = [TALK, SINGLE[: 2 * 2 * RATE]], ["de", None]
    options = Options(beam=beam, words=True, margin=FINAL_MARGIN)
    mixed, plain = decode(polyglot, windows, RATE, options, expected=expected)
    asked = languages_asked(polyglot, core)
    assert asked == (["ko", *(language for language, _ in passages)] if passages else ["de", "ko"])
    parts = [round(100 * (end - start)) for (_, end), start in zip(passages, [0.0, 3.0, 6.0], strict=False)]
    alone = [bucket(300, INTERIM_MARGIN)] * (len(found) - 3)
    assert [shape[-1] for shape in core.encoded[2:]] == [*alone, *(bucket(part, FINAL_MARGIN) for part in parts)]
    for word in mixed.words:
        middle = (word.start + word.end) / 2
        assert word.language == next((language for language, end in passages if middle < end), None)
    assert (mixed.language, plain.language) == ("ko" if found == [DE, KO, KO] else "de", "ko")


def test_a_window_is_decoded_behind_its_lead_if_all_of_it_is_in_that_language(
    polyglot: Whisper, listening: Core
) -> None:
    core = listening
    core.languages = [DE, DE, DE]
    decode(polyglot, [TALK], RATE, Options(margin=FINAL_MARGIN), leads=[EARLIER], expected=["de"])
    assert (len(core.encoded), languages_asked(polyglot, core)) == (1, ["de"])
    core.languages = [DE, KO, DE, DE, KO, DE]
    decode(polyglot, [TALK], RATE, Options(margin=FINAL_MARGIN), leads=[EARLIER], expected=["de"])
    assert languages_asked(polyglot, core)[1:] == ["de", "ko", "de"]
    given = polyglot.answers.tokens(EARLIER.text)
    assert [asked["prompts"][0][-len(given) :] == given for asked in core.generated] == [True, False, False, False]


@pytest.mark.parametrize(
    ("scores", "language"), [([-0.5, -0.9, -0.3], "en"), ([-0.5, -0.9, -0.6], "de"), ([-0.5, -0.2, -0.3], "ko")]
)
def test_of_a_window_whose_language_is_unsure_the_most_probable_text_is_kept(
    polyglot: Whisper, listening: Core, scores: list[float], language: str
) -> None:
    core = listening
    core.scores = list(scores)
    core.languages = [[("<|de|>", 0.4), ("<|ko|>", 0.35), ("<|en|>", 0.25)]]
    (heard,) = decode(polyglot, [TALK[: 2 * 2 * RATE]], RATE, Options(margin=FINAL_MARGIN))
    assert languages_asked(polyglot, core) == ["de", "ko", "en"]
    assert (heard.language, heard.avg_logprob) == (language, pytest.approx(max(scores), rel=0.1))
    assert heard.language_probability == {"de": 0.4, "ko": 0.35, "en": 0.25}[language]
    assert len(core.encoded) == 1


@pytest.mark.parametrize(("scores", "language"), [([-0.5, -0.3], "de"), ([-0.3, -0.5], "ko")])
def test_a_word_in_another_language_than_the_expected_one_is_tried_in_both(
    polyglot: Whisper, listening: Core, scores: list[float], language: str
) -> None:
    core = listening
    core.scores = list(scores)
    core.languages = [KO]
    (heard,) = decode(polyglot, [TALK[: 2 * 2 * RATE]], RATE, Options(margin=FINAL_MARGIN), expected=["de"])
    assert languages_asked(polyglot, core) == ["ko", "de"]
    assert (heard.language, len(core.encoded)) == (language, 1)


@pytest.mark.parametrize("beam", [1, 5])
def test_no_language_is_found_that_may_not_be_spoken(polyglot: Whisper, listening: Core, beam: int) -> None:
    core = listening
    core.languages = [ranked("de", 0.9)] * 6
    (heard,) = decode(polyglot, [TALK], RATE, Options(beam=beam, languages=("ko", "en")), expected=["de"])
    assert heard.language_probability == 0.5
    assert heard.language in languages_asked(polyglot, core)
    assert set(languages_asked(polyglot, core)) <= {"ko", "en"}


def test_the_built_in_model_hears_no_lead(core: Core) -> None:
    decode(model(), [TALK], RATE, Options(beam=1), leads=[EARLIER])
    assert core.encoded[0][-1] == bucket(900)


@pytest.mark.parametrize("beam", [1, 5])
def test_a_stock_final_tells_where_the_voice_is(core: Core, stock: Whisper, beam: int) -> None:
    heard = hear(TALK, beam=beam, find_voice_end=True)
    assert heard.voice_s > 3.0
    assert heard.voice_end > 5.0
    if beam == 1:
        assert heard.voiced is None
    else:
        assert len(heard.voiced) == -(-9 * RATE // 512)
        assert heard.voiced.count(1) * CHUNK_S == pytest.approx(heard.voice_s, rel=0.1)  # it is more exact


def test_noise_and_silence_are_not_decoded_by_a_stock_model(core: Core, stock: Whisper) -> None:
    noise = (2000 * np.random.default_rng(1).standard_normal(RATE)).astype(np.int16).tobytes()
    silent, noisy, spoken = decode(stock, [bytes(2 * RATE), noise, SINGLE], RATE, Options())
    assert (silent.text, silent.voice_s, noisy.text, noisy.voice_s) == ("", 0.0, "", 0.0)
    assert spoken.voice_s > 1.0
    assert {shape[0] for shape in core.encoded} == {1}


# --- what a text leaves out -------------------------------------------------------------------------------


class Answering:
    """Stands in for the decoder: gives what it is told to, and notes how it was asked."""

    def __init__(self, *answers: list[tuple[float, float, str]], **figures: Any) -> None:
        self.answers = list(answers)
        self._figures = {"avg_logprob": -0.2, "no_speech_prob": 0.01, **figures}
        self.asked: list[dict[str, Any]] = []

    def of(
        self, encoded: Any, lengths: list[int], languages: list[str], options: Options, **how: Any
    ) -> list[Hypothesis]:
        self.asked.append({"lengths": lengths, **how})
        said = self.answers.pop(0)
        words = [TimedWord(start=start, end=end, word=word, probability=0.9) for start, end, word in said]
        text = " ".join(word.word for word in words)
        return [Hypothesis(text=text, language="en", language_probability=1.0, words=words, **self._figures)]


def answering(
    monkeypatch: pytest.MonkeyPatch, *answers: list[tuple[float, float, str]], **figures: Any
) -> tuple[Whisper, Answering]:
    """The built-in model, taken for a stock one; there is a voice in all of each window."""
    whisper, script = model(), Answering(*answers, **figures)
    monkeypatch.setattr(whisper, "context", "full")
    monkeypatch.setattr(whisper, "answers", script)
    monkeypatch.setattr(whisper.voice, "chunks", lambda samples: np.ones(-(-samples.size // 512), np.float32))
    return whisper, script


FIRST = [(0.0, 0.5, "We"), (0.5, 1.0, "ship")]


def test_what_a_text_leaves_out_is_decoded_by_itself_and_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is missing; then a word in the middle stands for several."""
    short = [*FIRST, (1.0, 5.0, "on"), (5.0, 6.0, "Friday.")]
    whisper, script = answering(
        monkeypatch,
        short,
        short,  # tried once more
        [(0.2, 1.2, "Grace"), (1.2, 2.2, "writes"), (2.2, 3.2, "notes.")],
        [(0.2, 1.4, "it"), (1.4, 2.8, "again"), (2.8, 4.2, "on")],
    )
    (heard,) = decode(whisper, [TALK], RATE, Options())
    assert heard.text == "We ship it again on Friday. Grace writes notes."
    assert [(word.start, word.end, word.word) for word in heard.words] == [
        (0.0, 0.5, "We"), (0.5, 1.0, "ship"),
        (1.0, 2.2, "it"), (2.2, 3.6, "again"), (3.6, 5.0, "on"),
        (5.0, 6.0, "Friday."),
        (6.0, 7.0, "Grace"), (7.0, 8.0, "writes"), (8.0, 9.0, "notes."),
    ]  # fmt: skip
    assert heard.uncovered is None
    lengths = [one["lengths"] for one in script.asked]
    tail, middle = round(100 * (3.0 + GAP_PREROLL_S)), round(100 * (4.0 + GAP_PREROLL_S))
    assert lengths == [[900], [900], [pytest.approx(tail, abs=2)], [pytest.approx(middle, abs=2)]]


@pytest.mark.parametrize(
    ("answer", "figures"),
    [
        ([], {}),  # laughter
        ([(0.0, 3.0, "Grace")], {"avg_logprob": -1.5}),  # a guess
        ([(0.0, 0.3, "Grace")], {}),  # itself not whole
    ],
)
def test_where_nothing_can_be_made_out_the_text_stays_and_says_so(
    monkeypatch: pytest.MonkeyPatch, answer: list[tuple[float, float, str]], figures: dict[str, float]
) -> None:
    whole = [*FIRST, (1.0, 2.0, "it.")]
    whisper, script = answering(monkeypatch, whole, whole, answer, **figures)
    (heard,) = decode(whisper, [TALK], RATE, Options())
    assert heard.text == "We ship it."
    assert heard.uncovered == (2.0, pytest.approx(9.0, abs=CHUNK_S))
    assert len(script.asked) == 3


def test_what_is_still_missing_after_something_was_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is found, and of a long word nothing more is."""
    short = [*FIRST, (1.0, 5.0, "on"), (5.0, 6.0, "Friday.")]
    whisper, script = answering(
        monkeypatch, short, short, [(0.2, 1.2, "Grace"), (1.2, 2.2, "writes"), (2.2, 3.2, "notes.")], [(0.2, 4.2, "on")]
    )
    (heard,) = decode(whisper, [TALK], RATE, Options())
    assert heard.text == "We ship on Friday. Grace writes notes."
    assert heard.uncovered == (1.0, 5.0)
    assert len(script.asked) == 4


def test_in_no_more_than_some_places_more_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says a word for each two seconds, wherever it is asked."""
    whole = [(2.9 * i, 2.9 * (i + 1), f"w{i}") for i in range(9)]
    pair = [(0.2, 1.5, "so"), (1.5, 3.1, "so")]
    whisper, script = answering(monkeypatch, whole, whole, *[pair] * 20)
    (heard,) = decode(whisper, [(SINGLE * 10)[: 2 * 26 * RATE]], RATE, Options())
    assert len(script.asked) == 2 + MOST_GAPS
    assert len(heard.words) == 9 + MOST_GAPS
    assert heard.words == sorted(heard.words, key=lambda word: word.start)
    assert heard.uncovered is not None


def test_words_behind_a_lead_have_the_times_of_their_window(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_s = len(SINGLE) // 2 // 160 / 100
    # The first word begins a little early: alignment is not exact.
    said = [(lead_s + 2 * i - 0.1, lead_s + 2 * (i + 1) - 0.1, f"w{i}") for i in range(5)]
    whisper, script = answering(monkeypatch, said)
    (heard,) = decode(whisper, [TALK], RATE, Options(margin=FINAL_MARGIN), leads=[EARLIER])
    assert script.asked[0]["leads"] == [EARLIER.text]
    assert script.asked[0]["lengths"] == [900 + round(100 * lead_s)]
    assert [(word.start, word.end) for word in heard.words] == [
        (0.0, 1.9), (1.9, 3.9), (3.9, 5.9), (5.9, 7.9), (7.9, 9.0),  # the window's end
    ]  # fmt: skip


def test_behind_a_lead_that_leaves_nothing_to_say_the_window_is_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [(i / 2, (i + 1) / 2, f"w{i}") for i in range(18)]
    whisper, script = answering(monkeypatch, [], whole)
    (heard,) = decode(whisper, [TALK], RATE, Options(margin=FINAL_MARGIN), leads=[EARLIER])
    assert heard.text.split() == [f"w{i}" for i in range(18)]
    assert [one["leads"] for one in script.asked] == [[EARLIER.text], [None]]
    assert heard.uncovered is None
