"""Windows to text: what reaches CTranslate2, how often, and with how much room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convod.engine import answers
from convod.engine.answers import LIKELY_PER_SECOND
from convod.engine.gaps import GAP_PREROLL_S, MOST_GAPS
from convod.engine.loading import resample
from convod.engine.whisper import Whisper, choose_language
from convod.engine.wire import FULL_FRAMES, Load, bucket
from convod.speech.decoding import CHUNK_S, FINAL_MARGIN, INTERIM_MARGIN, Hypothesis, Lead, Options, TimedWord, Window
from tests.daemon.support.ears import model
from tests.support.speech import pcm, truth, word_error_rate

ROOT = Path(__file__).parents[3]
RATE = 16000
SINGLE = pcm("single.flac")


class Core:
    """A CTranslate2 model that notes how it is asked; `scores` replaces those of its answers, one a call."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.encoded: list[tuple[int, ...]] = []
        self.generated: list[dict[str, Any]] = []
        self.detected = 0
        self.aligned: list[list[int]] = []
        self.scores: list[float] = []
        self.languages: list[list[tuple[str, float]]] = []
        """What it finds in each window of the next batch, if anything is said of it."""
        self.answered: list[int] = []

    def encode(self, features: Any, *args: Any) -> Any:
        self.encoded.append(tuple(features.shape))
        return self.core.encode(features, *args)

    def generate(self, encoded: Any, prompts: list[list[int]], **how: Any) -> Any:
        self.generated.append({"prompts": prompts, **how})
        results = self.core.generate(encoded, prompts, **how)
        self.answered += [len(result.sequences_ids[0]) for result in results]
        if not self.scores:
            return results
        score = self.scores.pop(0)
        return [Scored(result, score) for result in results]

    def detect_language(self, encoded: Any) -> Any:
        self.detected += 1
        return self.languages or self.core.detect_language(encoded)

    def align(self, encoded: Any, start: list[int], *args: Any, **how: Any) -> Any:
        self.aligned.append(start)
        return self.core.align(encoded, start, *args, **how)


class Scored:
    """A result with another score."""

    def __init__(self, result: Any, score: float) -> None:
        self.sequences_ids, self.no_speech_prob, self.scores = result.sequences_ids, result.no_speech_prob, [score]


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    return watched(model(), monkeypatch)


def watched(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> Core:
    core = Core(whisper.core)
    monkeypatch.setattr(whisper, "core", core)
    monkeypatch.setattr(whisper.model, "model", core)
    return core


def decode(
    whisper: Whisper,
    windows: list[bytes],
    rate: int,
    options: Options,
    *,
    leads: list[Lead | None] | None = None,
    expected: list[str | None] | None = None,
) -> list[Hypothesis]:
    nothing = [None] * len(windows)
    return whisper.decode(
        [
            Window(audio=audio, lead=lead, expected=language)
            for audio, lead, language in zip(windows, leads or nothing, expected or nothing, strict=True)
        ],
        rate,
        options,
    )


def hear(window: bytes = SINGLE, **options: Any) -> Any:
    (heard,) = decode(model(), [window], RATE, Options(**options))
    return heard


# --- the encoder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("beam", [1, 5])
def test_a_window_is_encoded_once_for_text_and_words(core: Core, words: bool, beam: int) -> None:
    heard = hear(beam=beam, words=words)
    assert word_error_rate(truth("single"), heard.text) < 0.2
    assert not heard.truncated
    assert len(core.encoded) == len(core.generated) == 1
    assert len(core.aligned) == words


@given(st.integers(1, 28 * 100))
def test_a_short_context_holds_the_window_its_margin_and_never_as_many_as_mel_bands(frames: int) -> None:
    padded = bucket(frames)
    assert frames + 30 <= padded < frames + 130
    # The encoder halves the frames; an encoding of 80 or 128 would be taken for features.
    assert padded // 2 not in (80, 128)


@pytest.mark.parametrize("seconds", [0.02, 0.7, 1.6, 2.56, 9.0, 27.99])
def test_the_encoder_sees_whole_seconds_behind_the_window(core: Core, seconds: float) -> None:
    window = (SINGLE * 10)[: 2 * round(seconds * RATE)]
    hear(window, check_voice=False, beam=1)
    ((_, _, frames),) = core.encoded
    assert frames == bucket(round(seconds * RATE) // 160)


@pytest.mark.parametrize(("seconds", "room_s"), [(1, 5), (5, 5), (9, 10), (12, 30), (28, 30)])
def test_where_every_window_is_padded_to_30_s_the_answer_to_a_short_one_has_less_room(
    core: Core, monkeypatch: pytest.MonkeyPatch, seconds: int, room_s: int
) -> None:
    """A model that says a sentence over and over fills it."""
    monkeypatch.setattr(model(), "context", "full")
    hear((SINGLE * 10)[: 2 * seconds * RATE], check_voice=False, deterministic=True)
    asked = core.generated[0]
    assert asked["max_length"] == 2 * min(224, 12 + room_s * LIKELY_PER_SECOND)
    assert core.encoded[0][-1] == FULL_FRAMES


# --- the second try ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "tries"),
    [
        ([-0.2], 1),  # sure
        ([-1.5, -0.2], 2),  # doubtful, then sure
        ([-1.5, -1.6], 2),  # doubtful twice: no third
    ],
)
def test_a_doubtful_window_is_tried_once_more_with_the_whole_context(
    core: Core, scores: list[float], tries: int
) -> None:
    core.scores = list(scores)
    heard = hear()
    assert len(core.generated) == tries
    assert heard.avg_logprob > 1.2 * max(scores)  # the better one stays
    assert core.generated[0].get("sampling_temperature", 0) == 0
    if tries == 2:
        assert core.generated[1]["sampling_temperature"] > 0
        assert core.encoded[1][-1] == FULL_FRAMES


def test_an_interim_is_tried_once(core: Core) -> None:
    core.scores = [-1.5]
    hear(beam=1)
    assert len(core.generated) == 1


def test_only_the_doubtful_windows_of_a_batch_are_tried_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = decode(model(), [SINGLE, SINGLE], RATE, Options())
    assert [one.text for one in heard] == [heard[0].text] * 2
    assert len(core.generated) == 1


# --- what holds no voice ----------------------------------------------------------------------------------


def test_what_holds_no_voice_is_not_decoded_and_its_neighbours_are(core: Core) -> None:
    noise = (2000 * np.random.default_rng(1).standard_normal(RATE)).astype(np.int16).tobytes()
    silent, spoken, noisy = decode(model(), [bytes(2 * RATE), SINGLE, noise], RATE, Options())
    assert (silent.text, silent.voice_s, noisy.text, noisy.voice_s) == ("", 0.0, "", 0.0)
    assert word_error_rate(truth("single"), spoken.text) < 0.2
    assert [shape[0] for shape in core.encoded] == [1]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("offset", [-3000, 0, 3000])
def test_an_offset_is_taken_out_and_nothing_else(rate: int, offset: int) -> None:
    wave = (5000 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)).astype(np.int16)
    plain, lifted = resample(wave.tobytes(), rate), resample((wave + np.int16(offset)).tobytes(), rate)
    assert len(plain) == len(lifted) == pytest.approx(RATE, abs=20)
    middle = slice(1000, -1000)  # a resampler rings where an offset begins
    assert np.abs(plain - lifted)[middle].max() < 0.002
    assert resample(b"", RATE).size == 0


# --- prompts ----------------------------------------------------------------------------------------------

TALKATIVE = "Grace reviews the contract and the budget of the release. " * 100


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"prompt": TALKATIVE},
        {"hotwords": TALKATIVE},
        {"prompt": TALKATIVE, "hotwords": TALKATIVE},
        {"prompt": "Grace.", "hotwords": TALKATIVE},
        {"prompt": TALKATIVE, "hotwords": "Grace"},
        {"prompt": " \n", "hotwords": ""},
        {"prompt": "<|startoftranscript|><|endoftext|> <|0.00|>", "hotwords": "<|startofprev|>"},
    ],
)
def test_however_long_the_prompt_the_window_is_heard(core: Core, options: dict[str, str], beam: int) -> None:
    heard = hear(beam=beam, words=True, **options)
    assert word_error_rate(truth("single"), heard.text) < 0.2
    assert len(heard.words) == len(heard.text.split())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(1, 448))
def test_prompt_and_hotwords_share_what_room_there_is(prompt_size: int, hotwords_size: int, room: int) -> None:
    whisper = model()
    prompt, hotwords = TALKATIVE[:prompt_size], ("Laura, Friday, payment " * 100)[:hotwords_size]
    before = whisper.answers.previous(Options(prompt=prompt, hotwords=hotwords), room)
    words, text = whisper.answers.tokens(hotwords), whisper.answers.tokens(prompt)
    most = max(0, min(223, room - 5))
    assert len(before) == min(most, len(words) + len(text))
    kept = next(n for n in range(len(before), -1, -1) if before == [*words[:n], *text[len(text) - len(before) + n :]])
    assert kept >= min(len(words), most // 2)
    assert len(before) - kept >= min(len(text), most // 2)


@pytest.mark.parametrize("seconds", [3.0, 27.9])
def test_a_prompt_leaves_the_text_its_room(core: Core, seconds: float) -> None:
    window = (SINGLE * 10)[: 2 * round(seconds * RATE)]
    hear(window, prompt=TALKATIVE, hotwords=TALKATIVE)
    for asked in core.generated:
        assert asked["max_length"] <= 448
        # CTranslate2 lets an answer have half of it, or what the prompt leaves if that is less.
        left = min(asked["max_length"] // 2, asked["max_length"] - len(asked["prompts"][0]))
        assert left >= min(224, 12 * seconds)


@pytest.mark.parametrize("prompt", ["", TALKATIVE], ids=["alone", "prompted"])
@pytest.mark.parametrize("seconds", [3.0, 27.9])
def test_a_model_that_does_not_end_by_itself_fills_the_room_there_is(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch, seconds: float, prompt: str
) -> None:
    core = watched(polyglot, monkeypatch)
    window = (SINGLE * 10)[: 2 * round(seconds * RATE)]
    (heard,) = decode(polyglot, [window], RATE, Options(language="ko", beam=1, prompt=prompt))
    (answered,) = core.answered
    assert heard.truncated  # it may have had more to say
    assert 0 <= answered - min(224, 24 + 12 * seconds) < 6  # CTranslate2 is generous by what it forces


def test_a_window_of_a_file_that_has_more_to_say_is_heard_to_its_end(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = pcm("talk.flac")[: 2 * 9 * RATE]
    whole = hear(long, deterministic=True, words=True)
    assert len(core.generated) == 1
    monkeypatch.setattr(answers, "LIKELY_PER_SECOND", 0)  # twelve tokens are likely
    assert hear(long, deterministic=True, words=True) == whole
    assert len(core.generated) == 3
    core.scores = [-5.0, -5.0]
    assert len(hear(long, deterministic=True).text) < len(whole.text) / 2  # what is no text is not gone on with
    assert len(core.generated) == 4
    core.scores = []
    assert hear(long).text == whole.text  # somebody waits for it: it has all its room at once
    assert len(core.generated) == 5


def test_a_prompt_is_words_and_no_orders(core: Core) -> None:
    start = model().answers.tokenizer("en", "transcribe").sot_sequence
    hear(prompt="Hello <|startoftranscript|> <|notimestamps|>", hotwords="<|startofprev|>", beam=1)
    (asked,) = core.generated
    (prompt,) = asked["prompts"]
    special = [token for token in prompt if token >= model().answers.tokenizer("en", "transcribe").eot]
    assert special[1:-1] == start
    assert len(special) == len(start) + 2


# --- a model of many languages ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whisper]:
    """A model that knows English, German and Korean by name, and no word: its weights are dice."""
    out = tmp_path_factory.mktemp("polyglot") / "model"
    program = ROOT / "scripts" / "nano" / "random-model"
    sizes = ["--vocabulary", "2700", "--width", "64", "--layers", "1", "--quantization", "float32"]
    subprocess.run([sys.executable, program, out, *sizes], check=True, capture_output=True, timeout=120)
    for name in ("tokenizer.json", "vocabulary.json"):
        text = (out / name).read_text()
        for number, code in enumerate(("de", "ko")):
            assert f"<|unused{number}|>" in text
            text = text.replace(f"<|unused{number}|>", f"<|{code}|>")
        (out / name).write_text(text)
    names = json.loads((out / "vocabulary.json").read_text())
    names[names.index("<|unused2|>")] = ""  # by this token CTranslate2 knows a model of many languages
    (out / "vocabulary.json").write_text(json.dumps(names))
    config = json.loads((out / "config.json").read_text())
    config["lang_ids"] = [names.index(f"<|{code}|>") for code in ("en", "de", "ko")]
    (out / "config.json").write_text(json.dumps(config))
    yield Whisper(Load(directory=str(out), context="short", device="cpu", compute_type="float32", threads=1))
    shutil.rmtree(out)


def start_of(whisper: Whisper, prompt: list[int]) -> list[str]:
    names = [whisper.model.hf_tokenizer.id_to_token(token) for token in prompt]
    return names[names.index("<|startoftranscript|>") :][:3]


def test_a_model_says_which_languages_it_has_tokens_for(polyglot: Whisper) -> None:
    assert polyglot.multilingual
    assert sorted(polyglot.languages) == ["de", "en", "ko"]
    assert model().languages == ["en"]


def test_a_language_that_is_not_said_is_detected_from_the_one_encoding(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = watched(polyglot, monkeypatch)
    (heard,) = decode(polyglot, [SINGLE], RATE, Options(beam=1, words=True))
    assert (len(core.encoded), core.detected, len(core.generated)) == (1, 1, 1)
    assert heard.language in ("en", "de", "ko")
    assert 0.0 < heard.language_probability < 1.0
    assert start_of(polyglot, core.generated[0]["prompts"][0])[1] == f"<|{heard.language}|>"


def ranked(first: str, probability: float) -> list[tuple[str, float]]:
    """What a model finds that is so sure of a language."""
    others = [code for code in ("en", "de", "ko") if code != first]
    return [(f"<|{first}|>", probability), *((f"<|{code}|>", (1.0 - probability) / 2) for code in others)]


def test_windows_of_different_languages_are_one_batch_and_each_has_its_own(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = watched(polyglot, monkeypatch)
    core.languages = [ranked("de", 0.9), ranked("ko", 0.9), ranked("de", 0.7), ranked("de", 0.7)]
    heard = decode(polyglot, [SINGLE] * 4, RATE, Options(beam=1, words=True), expected=["de", None, "ko", None])
    assert [(one.language, one.language_probability) for one in heard] == [
        ("de", 0.9), ("ko", 0.9), ("ko", pytest.approx(0.15)), ("de", 0.7),
    ]  # fmt: skip
    assert (len(core.encoded), core.detected) == (1, 1)
    (asked,) = core.generated
    assert [start_of(polyglot, prompt)[1] for prompt in asked["prompts"]] == [
        "<|de|>", "<|ko|>", "<|ko|>", "<|de|>",
    ]  # fmt: skip
    # The rules for words are those of one language, so each window is aligned by its own.
    assert len(core.aligned) == 4
    assert all(one.words is not None for one in heard)


@pytest.mark.parametrize(
    ("found", "probability", "expected", "seconds", "chosen"),
    [
        ("de", 0.3, None, 0.5, ("de", 0.3)),  # nothing is known yet
        ("de", 0.3, "de", 0.5, ("de", 0.3)),
        ("de", 0.8, "en", 1.5, ("de", 0.8)),
        ("de", 0.79, "en", 9.0, ("en", 0.105)),  # not sure
        ("de", 0.99, "en", 1.49, ("en", 0.005)),  # a word or two
        ("de", 0.7, "fr", 9.0, ("fr", 0.0)),  # one that was not even found
    ],
)
def test_a_language_changes_when_the_model_is_sure_of_another_and_has_heard_enough(
    found: str, probability: float, expected: str | None, seconds: float, chosen: tuple[str, float]
) -> None:
    bare = [(token[2:-2], share) for token, share in ranked(found, probability)]
    language, share = choose_language(bare, expected, seconds)
    assert (language, share) == (chosen[0], pytest.approx(chosen[1]))


@pytest.mark.parametrize("language", ["en", "de", "ko"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_a_language_and_a_task_that_are_said_are_obeyed(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch, language: str, task: str
) -> None:
    core = watched(polyglot, monkeypatch)
    (heard,) = decode(polyglot, [SINGLE], RATE, Options(beam=1, language=language, task=task))
    assert core.detected == 0
    assert (heard.language, heard.language_probability) == (language, 1.0)
    assert start_of(polyglot, core.generated[0]["prompts"][0]) == [
        "<|startoftranscript|>", f"<|{language}|>", f"<|{task}|>",
    ]  # fmt: skip


def test_a_language_that_the_model_has_no_token_for_is_an_error_and_no_crash(polyglot: Whisper) -> None:
    for language in ("fr", "xx", ""):
        with pytest.raises(ValueError, match="does not know language"):
            decode(polyglot, [SINGLE], RATE, Options(beam=1, language=language))


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


@pytest.mark.parametrize(("language", "led"), [("de", True), ("ko", False)])
def test_a_language_is_detected_without_the_lead_which_is_left_out_if_it_is_in_another(
    polyglot: Whisper, monkeypatch: pytest.MonkeyPatch, language: str, led: bool
) -> None:
    monkeypatch.setattr(polyglot, "context", "full")
    core = watched(polyglot, monkeypatch)
    core.languages = [ranked(language, 0.95)]
    options = Options(beam=1, margin=FINAL_MARGIN)
    (heard,) = decode(polyglot, [TALK], RATE, options, leads=[EARLIER], expected=["de"])
    assert (heard.language, core.detected) == (language, 1)
    alone, asked = core.encoded
    assert alone[-1] == bucket(900, FINAL_MARGIN)
    assert (asked[-1] > alone[-1]) is led


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
        assert heard.voiced.count(1) * CHUNK_S == pytest.approx(heard.voice_s, abs=0.001)


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
        (0.0, 1.9), (1.9, 3.9), (3.9, 5.9), (5.9, 7.9), (7.9, 9.9),
    ]  # fmt: skip


def test_behind_a_lead_that_leaves_nothing_to_say_the_window_is_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [(i / 2, (i + 1) / 2, f"w{i}") for i in range(18)]
    whisper, script = answering(monkeypatch, [], whole)
    (heard,) = decode(whisper, [TALK], RATE, Options(margin=FINAL_MARGIN), leads=[EARLIER])
    assert heard.text.split() == [f"w{i}" for i in range(18)]
    assert [one["leads"] for one in script.asked] == [[EARLIER.text], [None]]
    assert heard.uncovered is None
