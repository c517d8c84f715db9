"""The mix: batches of windows as faster-whisper and convod feed them, with the tokens the model should answer.

Comes in: a `Corpus`. Goes out: `Batch`es. A window is a stretch of a made-up conversation: a whole utterance, the
beginning of one (an interim caption), several joined, a cut at arbitrary places, or no speech at all; padded by silence
or, as faster-whisper does, by zeros after normalisation. Needs torch for nothing but a fast Fourier transform.

What a window should yield (Whisper's own conventions, and what `faster_whisper.transcribe` makes of them):
- with timestamps, one `<|start|> text <|end|>` for each utterance. The first start is at most 1.00 s, for
  faster-whisper forbids more, and 0.00 where the window begins inside an utterance.
- a full window of 30 s that ends inside an utterance leaves that one out and ends in `<|end of the last|> <|start of
  this|>`: the next window then begins where the last complete one ended. If there is no complete one, its words so far
  and their end twice.
- everywhere else, and without timestamps, all words of which most can be heard.
- no speech: `<|nospeech|>` scored at the start, then nothing.
"""

import random
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.feature_extractor import FeatureExtractor

from .corpus import Corpus
from .noise import NoiseBank
from .speech import SAMPLE_RATE, Word
from .talk import HEARD
from .tokens import Vocabulary

Audio = npt.NDArray[np.float32]
HOP = 160
#: frames -> (share of the batches, windows a batch)
BUCKETS: dict[int, tuple[float, int]] = {
    100: (0.02, 32), 200: (0.02, 32), 300: (0.03, 32), 400: (0.05, 28), 500: (0.08, 24), 700: (0.11, 16),
    1000: (0.12, 12), 1500: (0.12, 8), 2000: (0.09, 6), 3000: (0.36, 6),
}  # fmt: skip
#: Share of each kind of window, by whether the bucket is short (up to 10 s), middling, or the full 30 s. A single
#: utterance is soon learned; to find one's way through several is what takes the time.
KINDS = {
    "short": {"single": 0.30, "interim": 0.12, "joined": 0.36, "cut": 0.16, "silent": 0.06},
    "middle": {"single": 0.05, "interim": 0.04, "joined": 0.55, "cut": 0.30, "silent": 0.06},
    "full": {"single": 0.16, "interim": 0.02, "joined": 0.36, "cut": 0.08, "stream": 0.33, "silent": 0.05},
}
SPLIT = 0.06
"""Share of words that are spelled in other pieces than the tokenizer's."""

#: How often a turn is one that begins like the turn before. Two sentences that are nearly the same are told apart by
#: where they are alone: a model that goes by what it has said already says the second again and again, or leaves it out.
ALIKE = 0.18
TIMED = 0.42
"""Share of windows whose text is asked for with timestamps. They also mark where each utterance is: it is without them
that one is said twice or left out."""

_MARGIN = 3  # frames of real audio on either side of a cut, so that its edges look like those of a longer file
_LOG_FLOOR = 8.0


@dataclass(frozen=True)
class Batch:
    """`features` (batch, 80, frames) float32; `tokens` and `targets` (batch, length) int64, targets shifted by one and
    -100 where nothing is asked; `characters` for the CTC of the encoder and `heard`, how many of its steps carry sound.
    """

    kind: str
    features: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    where: npt.NDArray[np.float32]
    characters: list[list[int]]
    heard: list[int]


_Where = tuple[float, float]  # seconds within the window
_NOWHERE: _Where = (-1.0, -1.0)


@dataclass(frozen=True)
class _Row:
    """Aligned: a token, the one that should follow (-100: not asked), and when that one sounds."""

    tokens: list[int]
    targets: list[int]
    where: list[_Where]


@dataclass
class _Turn:
    text: str
    words: list[Word]
    begun: bool = False  # before the window
    unfinished: bool = False  # at its end
    unheard: list[str] = field(default_factory=list)  # its words before the window

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end


@dataclass
class _Window:
    audio: Audio  # with `left` and `right` frames of margin
    turns: list[_Turn]
    left: int = 0
    right: int = 0
    filled: bool = False  # 30 s of sound: what goes on behind is not seen


class Mixer:
    def __init__(self, corpus: Corpus, vocabulary: Vocabulary, seed: int) -> None:
        self._corpus, self._vocabulary = corpus, vocabulary
        self._r, self._rng = random.Random(seed), np.random.default_rng(seed)
        self._noise = NoiseBank(self._rng)
        sizes = np.array([len(corpus.text(i)) for i in range(len(corpus))])
        self._by_length = np.argsort(sizes, kind="stable")
        self._by_text = np.array(sorted(range(len(corpus)), key=corpus.text))
        self._place = np.argsort(self._by_text)
        filters = FeatureExtractor().mel_filters
        self._filters = torch.from_numpy(np.asarray(filters, np.float32))
        self._hann = torch.hann_window(400)
        self._letters = {c: i + 1 for i, c in enumerate(" abcdefghijklmnopqrstuvwxyz'")}

    # --- batches

    def batch(self) -> Batch:
        r = self._r
        frames = r.choices(list(BUCKETS), [share for share, _ in BUCKETS.values()])[0]
        size = BUCKETS[frames][1]
        kinds = KINDS["short" if frames <= 1000 else "middle" if frames < 3000 else "full"]
        prompted = r.random() < (0.75 if frames == 3000 else 0.6 if frames > 1000 else 0.5)
        features, rows, characters, heard = [], [], [], []
        for _ in range(size):
            kind = r.choices(list(kinds), list(kinds.values()))[0]
            window = self._window(kind, frames)
            spectrum, steps = self._features(window, frames)
            features.append(spectrum)
            rows.append(self._tokens(window, prompted and r.random() < 0.8))
            text = " ".join(w.text for turn in window.turns for w in turn.words if w.text).lower()
            characters.append([self._letters[c] for c in text if c in self._letters])
            heard.append(steps)
        length = -(-max(len(row.tokens) for row in rows) // 32) * 32
        tokens = np.full((size, length), self._vocabulary.end, np.int64)
        targets = np.full((size, length), -100, np.int64)
        where = np.full((size, length, 2), -1, np.float32)
        for i, row in enumerate(rows):
            n = len(row.tokens)
            tokens[i, :n], targets[i, :n], where[i, :n] = row.tokens, row.targets, row.where
        return Batch(f"{frames}", np.stack(features), tokens, targets, where, characters, heard)

    # --- windows

    def _window(self, kind: str, frames: int) -> _Window:
        seconds = frames / 100
        for _ in range(12):
            window = self._try(kind, seconds)
            if window is not None:
                return window
        return self._silent(seconds)

    def _try(self, kind: str, seconds: float) -> _Window | None:
        r = self._r
        if kind == "silent":
            return self._silent(seconds)
        if kind == "single":
            audio, turns = self._conversation(1, limit=seconds)
            return self._whole(audio, turns, seconds)
        if kind == "interim":
            audio, turns = self._conversation(1, limit=None)
            end = r.uniform(turns[0].start + 0.25, min(seconds, turns[0].end))
            return self._cut(audio, turns, 0.0, end) if end > turns[0].start else None
        if kind == "joined":
            audio, turns = self._conversation(r.randint(2, max(2, min(9, int(seconds / 1.8)))), limit=seconds * 0.8)
            while turns and len(turns) > 1 and turns[-1].end > seconds - 0.05:
                turns.pop()
            return self._whole(audio[: round((turns[-1].end + r.uniform(0.05, 0.6)) * SAMPLE_RATE)], turns, seconds)
        audio, turns = self._conversation(max(2, int(seconds / 1.6) + 2), limit=None)
        total = len(audio) / SAMPLE_RATE
        if kind == "stream":  # a full window amid a talk
            if total < seconds + 1:
                return None
            if r.random() < 0.6:  # where faster-whisper goes on: at the end of an utterance
                before = [t.end for t in turns if t.end + seconds < total]
                start = max(0.0, r.choice(before) + r.gauss(0.05, 0.08)) if before else 0.0
            else:
                start = r.uniform(0, total - seconds)
            return self._cut(audio, turns, start, start + seconds)
        length = min(r.uniform(0.4, seconds) if r.random() < 0.6 else seconds, total - 0.1)
        start = r.uniform(0, total - length)
        return self._cut(audio, turns, start, start + length)

    def _conversation(self, count: int, limit: float | None) -> tuple[Audio, list[_Turn]]:
        """`count` utterances, each at its own level and speed (0.92 to 1.1), silence between them. One utterance is at
        most `limit` s.
        """
        r = self._r
        at = r.choice([0.0, r.uniform(0, 0.5), r.uniform(0, 1.5) if count > 1 or (limit or 9) > 4 else 0.0])
        parts: list[Audio] = [np.zeros(round(at * SAMPLE_RATE), np.float32)]
        turns: list[_Turn] = []
        samples = len(parts[0])
        brief = count > 1 and r.random() < 0.4  # many short turns
        before: int | None = None
        for _ in range(count):
            for _ in range(20):
                top = len(self._by_length)
                if limit is not None and limit < 4:  # short texts are short sounds: about 15 letters a second
                    top = max(20, int(np.searchsorted(self._lengths(), limit * 16)))
                if brief and r.random() < 0.8:
                    top = top // 3
                if before is not None and r.random() < ALIKE:
                    chosen = self._alike(before)
                else:
                    chosen = int(self._by_length[r.randrange(top)])
                u = self._corpus[chosen]
                if limit is None or samples / SAMPLE_RATE * (count == 1) + len(u.audio) / SAMPLE_RATE < limit:
                    break
            before = chosen
            speed = r.uniform(0.92, 1.1) if r.random() < 0.7 else 1.0
            sound = u.audio.astype(np.float32) / 32768 * 10 ** (r.gauss(0, 2.5) / 20)
            if speed != 1.0:
                n = int(len(sound) / speed)
                sound = np.interp(np.arange(n) * speed, np.arange(len(sound)), sound).astype(np.float32)
            trim = r.choice([0, 0, 700])  # the corpus' own 50 ms margins
            sound = sound[trim : len(sound) - trim]
            shift = (samples - trim) / SAMPLE_RATE
            words = [Word(w.text, w.start / speed + shift, w.end / speed + shift) for w in u.words]
            turns.append(_Turn(u.text, words))
            gap = r.choice([r.uniform(0.02, 0.4), r.uniform(0.2, 1.0), r.uniform(0.5, 1.5)])
            if r.random() < 0.03:
                gap = r.uniform(1.5, 8)
            parts.append(np.asarray(sound, np.float32))
            parts.append(np.zeros(round(gap * SAMPLE_RATE), np.float32))
            samples += len(sound) + len(parts[-1])
        return np.concatenate(parts), turns

    def _alike(self, utterance: int) -> int:
        """An utterance that begins like another, as far as there are such; one time in twenty-five itself."""
        at = int(self._place[utterance]) + self._r.randint(-12, 12)
        return int(self._by_text[min(max(0, at), len(self._by_text) - 1)])

    def _lengths(self) -> npt.NDArray[np.int64]:
        if not hasattr(self, "_sorted_lengths"):
            self._sorted_lengths = np.array([len(self._corpus.text(int(i))) for i in self._by_length])
        return self._sorted_lengths

    def _whole(self, audio: Audio, turns: list[_Turn], seconds: float) -> _Window | None:
        if turns[-1].end > seconds - 0.02:
            return None
        size = min(len(audio), round(seconds * SAMPLE_RATE))
        return _Window(audio[: size // HOP * HOP], turns)

    def _cut(self, audio: Audio, turns: list[_Turn], start: float, end: float) -> _Window | None:
        """The stretch between two times; None where it would be a matter of taste which words it holds."""
        inside: list[_Turn] = []
        full = end - start > 29.99
        for turn in turns:
            if turn.end <= start or turn.start >= end:
                continue
            words, unheard = [], []
            for w in turn.words:
                share = (min(w.end, end) - max(w.start, start)) / max(1e-3, w.end - w.start)
                if 0.25 < share < 0.75:
                    return None
                if share >= HEARD:
                    words.append(Word(w.text, max(w.start, start) - start, min(w.end, end) - start))
                elif w.end <= (start + end) / 2:
                    unheard.append(w.text)
            unfinished = turn.end > end + 0.01
            if full and unfinished and (turn.end < end + 0.12 or turn.start > end - 0.25):
                return None  # nobody could tell
            if not words and full and unfinished:
                words = [Word("", turn.start - start, end - start)]
            if words:
                inside.append(_Turn(turn.text, words, turn.start < start - 0.01, unfinished, unheard))
        a, b = round(start * 100) * HOP, round(end * 100) * HOP
        left, right = min(_MARGIN, a // HOP), min(_MARGIN, (len(audio) - b) // HOP)
        right = max(0, right)
        if self._r.random() < 0.4:
            left = right = 0
        return _Window(audio[a - left * HOP : b + right * HOP], inside, left, right, full)

    def _silent(self, seconds: float) -> _Window:
        length = self._r.choice([seconds, self._r.uniform(0.02, seconds), self._r.uniform(0.02, min(1.0, seconds))])
        return _Window(np.zeros(max(2, round(length * 100)) * HOP, np.float32), [])

    # --- features

    def _features(self, window: _Window, frames: int) -> tuple[npt.NDArray[np.float32], int]:
        """Log-mel (80, `frames`) of the window with noise, level, band and rounding; and how many encoder steps it
        sounds.
        """
        r = self._r
        audio = window.audio
        content = len(audio) // HOP - window.left - window.right
        heard = min(frames, content) // 2
        if content < frames and r.random() < (
            0.3 if frames == 3000 else 0.5
        ):  # silence behind it, in part or to the end
            more = r.choice([frames - content, r.randint(0, frames - content)])
            audio, window.right = np.concatenate([audio, np.zeros(more * HOP, np.float32)]), 0
        speech = float(np.sqrt(np.mean(audio**2))) if window.turns else 0.0
        if speech > 0:
            audio = audio * 10 ** (r.uniform(-22, 2) / 20)
            speech = float(np.sqrt(np.mean(audio**2)))
            if r.random() < 0.65:
                noise = self._noise.cut(len(audio), alone=False)
                audio = audio + noise * (
                    speech * 10 ** (-r.uniform(13, 60) / 20) / max(1e-6, float(np.sqrt(np.mean(noise**2))))
                )
        elif r.random() < 0.75:
            audio = self._noise.cut(len(audio), alone=True) * 10 ** (r.uniform(-75, -3) / 20)
        if r.random() < 0.08:
            audio = _low_pass(audio, r.uniform(3300, 4000))
        audio = np.round(np.clip(audio, -1, 1) * 32767) / np.float32(32768)
        x = torch.from_numpy(np.ascontiguousarray(audio, np.float32))
        if len(x) < 480:
            x = torch.nn.functional.pad(x, (0, 480 - len(x)))
        power = torch.stft(x, 400, HOP, window=self._hann, return_complex=True)[..., :-1].abs() ** 2
        log = (self._filters @ power).clamp(min=1e-10).log10()
        # faster-whisper measures the loudest of the whole file, which may lie outside of the window.
        top = float(log.max())
        if r.random() < (0.25 if window.turns else 0.5):
            top = max(top, top + r.uniform(0, 0.7) if window.turns else r.uniform(-2, 2))
        log = (torch.clamp(log, min=top - _LOG_FLOOR) + 4) / 4
        log = log[:, window.left : log.shape[1] - window.right][:, :frames]
        return torch.nn.functional.pad(log, (0, frames - log.shape[1])).numpy(), max(1, heard)

    # --- tokens

    def _tokens(self, window: _Window, prompted: bool) -> "_Row":
        v, r = self._vocabulary, self._r
        timed = r.random() < TIMED
        before = self._previous(window, timed) if prompted else []
        head = [v.previous, *before, v.start] if before else [v.start]
        if not window.turns:
            # The first timestamp is faster-whisper's to force, any up to 1.00 s: silence goes on behind it whichever.
            first = v.timestamp(r.choice([0.0, r.uniform(0, 1)])) if timed else v.no_timestamps
            return _Row([*head, first], [*[-100] * (len(head) - 1), v.no_speech, v.end], [_NOWHERE] * (len(head) + 1))
        answer = self._timed(window) if timed else [pair for turn in window.turns for pair in self._spell(turn)]
        if not timed:
            head.append(v.no_timestamps)
        ids = [token for token, _ in answer]
        idle = len(head) - 1
        return _Row(
            self._stumbling([*head, *ids], len(head)),
            [*[-100] * idle, *ids, v.end],
            [*[_NOWHERE] * idle, *(where for _, where in answer), _NOWHERE],
        )

    def _spell(self, turn: _Turn) -> list[tuple[int, "_Where"]]:
        """Token ids of a turn's words (a word is spelled alike alone and in its sentence) and when each one sounds.

        Now and then a word is put together of other pieces. A beam is full of such harmless seconds then: where one
        way of writing is all that a model knows, its other hypotheses are texts that leave out a token or end early,
        and a search that stops at the first five that are finished takes one of these.
        """
        v, r = self._vocabulary, self._r
        ids: list[tuple[int, _Where]] = []
        for w in turn.words:
            if not w.text:
                continue
            pieces = v.text(w.text)
            if len(w.text) > 2 and r.random() < SPLIT:
                at = r.randrange(1, len(w.text))
                pieces = [*v.text(w.text[:at]), *v.inside(w.text[at:])]
            ids += [(i, (w.start, w.end)) for i in pieces]
        return ids

    def _timed(self, window: _Window) -> list[tuple[int, "_Where"]]:
        def stamp(seconds: float) -> tuple[int, _Where]:
            return self._vocabulary.timestamp(seconds), (seconds - 0.06, seconds + 0.06)

        answer: list[tuple[int, _Where]] = []
        for i, turn in enumerate(window.turns):
            start = turn.start
            if i == 0:
                start = 0.0 if turn.begun or self._r.random() < 0.15 else min(1.0, start)
            if window.filled and turn.unfinished:
                answer.append(stamp(start))
                if i == 0 and turn.words[0].text:
                    answer += [*self._spell(turn), stamp(turn.end), stamp(turn.end)]
                break
            answer += [stamp(start), *self._spell(turn), stamp(turn.end)]
        return answer

    def _stumbling(self, ids: list[int], begin: int) -> list[int]:
        """Now and then a wrong word in what the decoder believes it has said: it must go on hearing, not reciting."""
        v, r = self._vocabulary, self._r
        return [
            r.randrange(v.space + 1, v.end) if i >= begin and t < v.end and r.random() < 0.02 else t
            for i, t in enumerate(ids)
        ]

    def _previous(self, window: _Window, timed: bool) -> list[int]:
        """Tokens of what was said before, in the form faster-whisper passes on: the last 223, with their timestamps if
        there were any.
        """
        v, r = self._vocabulary, self._r
        texts = [self._corpus.text(r.randrange(len(self._corpus))) for _ in range(r.choice([1, 3, 8, 12, 16, 16]))]
        if window.turns and r.random() < 0.06:  # heard before: that it was said is no reason to skip or to repeat it
            texts.append(window.turns[0].text)
        if window.turns and window.turns[0].unheard and r.random() < 0.7:
            texts.append(" ".join(window.turns[0].unheard))
        if timed != (r.random() < 0.15):
            ids, at = [], r.uniform(0, 20)
            for text in texts:
                end = at + len(text) / 15
                if end > 29:
                    at, end = 0.0, len(text) / 15
                ids += [v.timestamp(at), *v.text(text), v.timestamp(end)]
                at = end + r.uniform(0.1, 1)
        else:
            ids = v.text(" ".join(texts))
        return ids[-223:]


def _low_pass(audio: Audio, hertz: float) -> Audio:
    spectrum = np.fft.rfft(audio)
    spectrum[int(hertz / SAMPLE_RATE * len(audio)) :] = 0
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)
