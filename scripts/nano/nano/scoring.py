"""Scoring: what a model makes of talks whose words are known.

Comes in: a model's folder and test sets. Goes out: word error rates by condition, and what it says where nobody speaks.
Decodes as users do: through faster-whisper's `transcribe` and its batched pipeline at the full context of 30 s, and as
convod does: CTranslate2's `generate` on windows no longer than their audio. No torch.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper import BatchedInferencePipeline, WhisperModel

Audio = npt.NDArray[np.float32]


def words_of(text: str) -> list[str]:
    """Lower case, letters, digits and apostrophes: what counts as a word here."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def errors(truth: Sequence[str], heard: Sequence[str]) -> int:
    """Words to change, drop or add (Levenshtein) to make `truth` of `heard`."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(truth, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return row[-1]


@dataclass(frozen=True)
class Sample:
    """float32 audio at 16 kHz and what is said in it."""

    audio: Audio
    text: str


@dataclass(frozen=True)
class Score:
    wrong: int
    words: int
    worst: tuple[tuple[str, str], ...]

    @property
    def rate(self) -> float:
        """Word error rate, 0 to 1 and beyond."""
        return self.wrong / max(1, self.words)


def score(transcribe: Callable[[Audio], str], samples: Sequence[Sample]) -> Score:
    wrong = words = 0
    missed: list[tuple[int, str, str]] = []
    for sample in samples:
        heard = transcribe(sample.audio)
        truth = words_of(sample.text)
        count = errors(truth, words_of(heard))
        wrong, words = wrong + count, words + len(truth)
        if count:
            missed.append((count, sample.text, heard.strip()))
    missed.sort(key=lambda m: -m[0])
    return Score(wrong, words, tuple((text, heard) for _, text, heard in missed))


class Ears:
    """One model, all the ways to ask it."""

    def __init__(self, folder: Path, *, compute_type: str = "int8", threads: int = 1) -> None:
        self.model = WhisperModel(str(folder), device="cpu", compute_type=compute_type, cpu_threads=threads)
        self.batched = BatchedInferencePipeline(self.model)

    def full(self, **options: Any) -> Callable[[Audio], str]:
        """`transcribe` with its defaults, changed by `options`."""
        return lambda audio: "".join(s.text for s in self.model.transcribe(audio, language="en", **options)[0])

    def pipeline(self, **options: Any) -> Callable[[Audio], str]:
        """The batched pipeline: its own voice-activity detector cuts the audio."""
        return lambda audio: "".join(s.text for s in self.batched.transcribe(audio, language="en", **options)[0])

    def short(self, *, beam: int, timed: bool, frames: int | None = None) -> Callable[[Audio], str]:
        """The window as it is, or padded by zeros to `frames`; never longer than 30 s."""

        def hear(audio: Audio) -> str:
            features = self.model.feature_extractor(audio)[..., :-1][:, :3000].astype(np.float32)
            length = max(frames or 0, features.shape[1] + features.shape[1] % 2)
            if length == 160:  # an encoding of 80 steps would pass for features of 80 mels
                length = 162
            features = np.pad(features, ((0, 0), (0, max(0, length - features.shape[1]))))
            ids = self.model.hf_tokenizer.token_to_id
            prompt = [ids("<|startoftranscript|>")] + ([] if timed else [ids("<|notimestamps|>")])
            view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None]))
            result = self.model.model.generate(view, [prompt], beam_size=beam, max_length=224)[0]
            return str(self.model.hf_tokenizer.decode([t for t in result.sequences_ids[0] if t < ids("<|endoftext|>")]))

        return hear

    def no_speech(self, audio: Audio) -> float:
        """Probability of `<|nospeech|>` at full context."""
        features = np.zeros((1, self.model.feature_extractor.mel_filters.shape[0], 3000), np.float32)
        heard = self.model.feature_extractor(audio)[..., :-1][:, :3000]
        features[0, :, : heard.shape[1]] = heard
        prompt = [self.model.hf_tokenizer.token_to_id("<|startoftranscript|>")]
        view = ctranslate2.StorageView.from_array(features)
        return float(
            self.model.model.generate(view, [prompt], beam_size=1, max_length=8, return_no_speech_prob=True)[
                0
            ].no_speech_prob
        )


def ways(ears: Ears, kind: str) -> Iterator[tuple[str, Callable[[Audio], str]]]:
    """Named conditions for a `kind` of test set: single, joined or minutes."""
    for timed in (True, False):
        stamps = "timestamps" if timed else "no timestamps"
        for beam in (5, 1):
            name = "defaults" if timed and beam == 5 else f"{stamps}, beam {beam}"
            yield f"transcribe, {name}", ears.full(beam_size=beam, without_timestamps=not timed)
            if kind != "minutes":
                yield f"short context, {stamps}, beam {beam}", ears.short(beam=beam, timed=timed)
    if kind == "minutes":
        yield "transcribe, no previous text", ears.full(condition_on_previous_text=False)
        yield "transcribe, VAD filter", ears.full(vad_filter=True)
    yield "batched, defaults", ears.pipeline()
    yield "batched, timestamps", ears.pipeline(without_timestamps=False)
