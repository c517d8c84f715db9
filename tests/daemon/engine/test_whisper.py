"""Windows to text: what reaches CTranslate2, how often, and with how much room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convod.engine import answers
from convod.engine.answers import LIKELY_PER_SECOND
from convod.engine.loading import resample
from convod.engine.whisper import Whisper
from convod.engine.wire import FULL_FRAMES, bucket
from convod.speech.decoding import Options
from tests.daemon.support.ears import model
from tests.daemon.support.whispers import RATE, SINGLE, TALKATIVE, Core, decode, hear, ranked, watched
from tests.support.speech import pcm, truth, word_error_rate

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
