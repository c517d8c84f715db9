"""The corpus: many utterances in two files, `NAME.npy` (int16 audio end to end) and `NAME.json` (texts, voices, words).

Comes in: sentences to speak. Goes out: `Corpus`, which maps the audio instead of reading it: 40,000 utterances are 4
GB.
"""

import json
import random
from pathlib import Path

import numpy as np

from .grammar import sentence, unseen_sentence
from .speech import CORE_VOICES, VOICES, Order, Utterance, Word, speak_many


def orders(
    count: int, seed: int, *, wide: float, held_out: bool = False, unseen: bool = False, core_voices: float = 0.5
) -> list[Order]:
    """What to say and how: `wide` is the share of the wide vocabulary, `core_voices` that of the first six voices."""
    r = random.Random(seed)
    out = []
    for _ in range(count):
        text = unseen_sentence(r) if unseen else sentence(r, wide=wide, held_out=held_out)
        voice = r.choice(CORE_VOICES if r.random() < core_voices else VOICES)
        out.append(Order(text, voice, r.randint(130, 190), r.randint(35, 65)))
    return out


def synthesize(asked: list[Order], path: Path, processes: int = 2) -> float:
    """Speak `asked` into `path`.npy and `path`.json. Returns hours of audio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts, index = [], []
    for utterance in speak_many(asked, processes):
        parts.append(utterance.audio)
        words = [[w.text, w.start, w.end] for w in utterance.words]
        index.append([utterance.text, utterance.voice, len(utterance.audio), words])
    audio = np.concatenate(parts)
    np.save(path.with_suffix(".npy"), audio)
    path.with_suffix(".json").write_text(json.dumps(index))
    return len(audio) / 16_000 / 3600


class Corpus:
    def __init__(self, path: Path) -> None:
        self._audio = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self._index = json.loads(path.with_suffix(".json").read_text())
        self._starts = np.concatenate([[0], np.cumsum([size for _, _, size, _ in self._index])])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: int) -> Utterance:
        text, voice, size, words = self._index[i]
        audio = np.array(self._audio[self._starts[i] : self._starts[i] + size])
        return Utterance(text, voice, audio, tuple(Word(*w) for w in words))

    def text(self, i: int) -> str:
        return str(self._index[i][0])
