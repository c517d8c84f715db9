"""Take names, numbers and addresses out of a transcript before it is passed on.

In: a transcript, which kinds of things to take out, names. Out: the same with [name], [number], [email] and [link] in
their places, and the times at which they were said. Patterns find what looks like these things; they understand
nothing, so a person must read the result:

- emails: addresses and links, written or spelled out ("anna dot smith at example dot com"), in several languages;
- numbers: everything with digits (dates too), and three or more words for digits in a row;
- names: those that are given, those that speakers were given, and in English words with a capital that begin no
  sentence, with all that they do wherever they stand. In other languages only the names that are given.

What is split between two segments, or misheard, is not found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec

from .formats import Segments, render_pieces
from .messages import Segment, Speaker, Summary, Word
from .transcript import Transcript

KINDS = ("names", "numbers", "emails")

NAMES = 200
"""Most names that are given."""

NAME = 100
"""Most characters of a name."""

MARGIN_S = 0.1
"""Silence before and behind what was said: the times of words are not exact."""

Span = tuple[int, int, str]
"""From and to, in characters, and what stands there instead."""


def _listed(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# Each pattern begins where no longer match can begin and has bounds inside, so that no text takes long.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
_LINK = re.compile(
    r"(?<!\w)(?:https?://|www\.)[^\s<>\"]+[^\s<>\".,;:!?)\]]|"
    r"(?<![\w.@-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,3}\."
    r"(?:com|org|net|edu|gov|info|io|eu|uk|de|at|ch|fr|es|it|nl|pl|kr|jp|cn|br)(?![\w-])(?:/[^\s<>\"]*[^\s<>\".,;:!?)])?"
)
_DOT = "(?:dot|punkt|point|punto|ponto|punt|period)"
_SPELLED = re.compile(
    rf"(?<!\w)\w{{1,32}}(?: (?:{_DOT}|underscore|dash|minus) \w{{1,32}}){{0,4}} "
    rf"(?:at|ät|arobase|arroba|chiocciola|apenstaartje) \w{{1,32}}(?: {_DOT} \w{{2,32}}){{1,3}}(?!\w)",
    re.IGNORECASE,
)
_DIGITS = re.compile(
    r"(?<![A-Za-z\d])[+(]?[A-Za-z]{0,4}\d(?:[\s.,:/()+-]{0,3}[A-Za-z]{0,2}\d)*(?:%|[A-Za-z]{1,4}(?![A-Za-z]))?"
)
_DIGIT_WORDS = _listed(
    "zero oh one two three four five six seven eight nine double triple",
    "null eins zwei zwo drei vier fünf sechs sieben acht neun",
    "zéro un deux trois quatre cinq sept huit neuf",
    "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "due quattro cinque sei sette otto nove um dois três quatro sete oito",
    "nul een twee drie vijf zes zeven negen",
)
_DIGIT_WORD = f"(?:{'|'.join(sorted(_DIGIT_WORDS, key=lambda word: (-len(word), word)))})"
_SAID = re.compile(
    rf"(?<!\w){_DIGIT_WORD}(?:[\s,-]{{1,2}}{_DIGIT_WORD}){{2,}}(?!\w)|"
    "[영공일이삼사오육칠팔구](?:[\\s,-]?[영공일이삼사오육칠팔구]){3,}|[〇零一二三四五六七八九](?:[\\s,-]?[〇零一二三四五六七八九]){2,}",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_TITLES = frozenset({"mr", "mrs", "ms", "dr", "prof", "professor", "sir", "lady"})
_NO_NAMES = _TITLES | _listed(
    "i'm i'll i've i'd monday tuesday wednesday thursday friday saturday sunday okay ok english",
    "january february march april may june july august september october november december",
)
_STARTERS = _listed(
    "a an and are as at but by can could did do does for from good had has have he hello her hi his how if in is it",
    "let my no not now of on or our please she should so thank thanks that the their then there they this to",
    "was we well were what when where which who why will with would yes yeah you your",
)
"""What begins a sentence before a name, and is none."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")


class Redactor:
    """What is taken out of transcripts.

    Args:
        kinds: of `KINDS`.
        names: names that are known, whatever the language.

    Raises:
        ValueError: there is no such kind, or a name cannot be one; the text says what to do.
    """

    def __init__(self, kinds: Collection[str], names: Sequence[str] = ()) -> None:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"redact takes {', '.join(KINDS)}, not {kind!r}")
        if len(names) > NAMES or any(len(name) > NAME for name in names):
            raise ValueError(f"redact_names takes at most {NAMES} names of {NAME} characters")
        if names and "names" not in kinds:
            raise ValueError("redact_names is for names: put `names` into redact")
        self._kinds = frozenset(kinds)
        self._given = tuple(names)
        self._learned: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Two with the same key take out the same."""
        return msgspec.json.encode([sorted(self._kinds), self._given]).decode() if self._kinds else ""

    def redact(self, transcript: Transcript, segments: Segments) -> tuple[Transcript, Segments]:
        """The transcript and its segments without what is taken out. Looks at all segments once, for names."""
        named = [name for each in transcript.speakers if not _is_plain(each) for name in _names_of(each)]
        mine = Redactor(self._kinds, self._given)
        if "names" in self._kinds:
            mine._given += tuple(name[:NAME] for name in named)
            mine._learned = _names_in(segments)
        language = next((segment.language for segment in segments), "")
        summary = transcript.summary
        redacted = msgspec.structs.replace(
            transcript,
            title=mine.text(transcript.title, language),
            summary=None if summary is None else mine._summary(summary),
            marks=[
                msgspec.structs.replace(mark, text=mine.text(mark.text, language)) for mark in transcript.marks
            ],
            speakers=[mine._speaker(each) for each in transcript.speakers],
        )  # fmt: skip
        return redacted, _Redacted(mine, segments)

    def redacted(self, transcript: Transcript) -> Transcript:
        """A transcript that is whole in memory, and its segments, without what is taken out."""
        redacted, segments = self.redact(transcript, transcript.segments)
        return msgspec.structs.replace(redacted, segments=list(segments))

    def text(self, text: str, language: str = "") -> str:
        """A text without what is taken out."""
        return _replaced(text, self._spans(text, language))

    def segment(self, segment: Segment) -> Segment:
        """A segment without it; words that are taken out are one word."""
        spans = self._spans(segment.text, segment.language)
        if not spans:
            return segment
        words = None if segment.words is None else list(_words(segment.words, segment.text, spans))
        return msgspec.structs.replace(segment, text=_replaced(segment.text, spans), words=words)

    def times(self, segment: Segment) -> Iterator[tuple[float, float]]:
        """When what is taken out was said, seconds; without the times of words, the whole segment."""
        spans = self._spans(segment.text, segment.language)
        if spans and not segment.words:
            yield segment.start - MARGIN_S, segment.end + MARGIN_S
        elif spans:
            for word, place, end in _placed(segment.words or (), segment.text):
                if place < 0 or any(start < end and place < stop for start, stop, _ in spans):
                    yield word.start - MARGIN_S, word.end + MARGIN_S

    # --- what is found ------------------------------------------------------------------------------------

    def _spans(self, text: str, language: str) -> list[Span]:
        found: list[Span] = []
        if "emails" in self._kinds:
            found += [(each.start(), each.end(), "[email]") for each in _EMAIL.finditer(text)]
            found += [(each.start(), each.end(), "[email]") for each in _SPELLED.finditer(text)]
            found += [(each.start(), each.end(), "[link]") for each in _LINK.finditer(text)]
        if "numbers" in self._kinds:
            for pattern in (_DIGITS, _SAID):
                found += [(each.start(), each.end(), "[number]") for each in pattern.finditer(text)]
        if "names" in self._kinds:
            words = list(_WORD.finditer(text))
            found += self._known_names(text, words)
            if language.lower().split("-")[0] == "en":
                found += self._english_names(text, words)
        return _merged(found)

    @cached_property
    def _by_first(self) -> dict[str, set[tuple[str, ...]]]:
        names: dict[str, set[tuple[str, ...]]] = {}
        for name in self._given:
            if (words := [word[0].casefold() for word in _WORD.finditer(name)]) and not _UNSPACED.search(name):
                names.setdefault(words[0], set()).add(tuple(words))
        return names

    @cached_property
    def _unspaced(self) -> list[str]:
        return [name.strip() for name in self._given if _UNSPACED.search(name)]

    def _known_names(self, text: str, words: Sequence[re.Match[str]]) -> Iterator[Span]:
        folded = [_stem(word[0].casefold()) for word in words]
        for at, word in enumerate(words):
            for name in self._by_first.get(folded[at], ()):
                last = at + len(name) - 1
                if tuple(folded[at : last + 1]) == name:
                    yield word.start(), words[last].end(), "[name]"
        for known in self._unspaced:
            place = text.find(known)
            while place >= 0:
                yield place, place + len(known), "[name]"
                place = text.find(known, place + len(known))

    def _english_names(self, text: str, words: Sequence[re.Match[str]]) -> Iterator[Span]:
        for at, word in enumerate(words):
            if not _capital(word[0]):
                continue
            following = words[at + 1] if at + 1 < len(words) else None
            beside = following is not None and text[word.end() : following.start()] == " " and _capital(following[0])
            beside = beside and word[0].casefold() not in _STARTERS
            if not _begins(text, words, at) or _stem(word[0]) in self._learned or beside:
                yield word.start(), word.end(), "[name]"

    def _summary(self, summary: Summary) -> Summary:
        def clean(value: Any) -> Any:
            if isinstance(value, str):
                return self.text(value, summary.language)
            if isinstance(value, list):
                return [clean(each) for each in value]
            if isinstance(value, msgspec.Struct):
                fields = {
                    name: clean(getattr(value, name))
                    for name in value.__struct_fields__
                    if name not in ("provider", "model", "language", "origin", "name")
                }
                return msgspec.structs.replace(value, **fields)
            return value

        cleaned: Summary = clean(summary)
        return cleaned

    def _speaker(self, speaker: Speaker) -> Speaker:
        if "names" not in self._kinds or _is_plain(speaker):
            return speaker
        return msgspec.structs.replace(speaker, name=f"Speaker {speaker.speaker}")


class _Redacted:
    """Segments without what is taken out, as often as they are read."""

    def __init__(self, redactor: Redactor, segments: Segments) -> None:
        self._redactor = redactor
        self._segments = segments

    def __iter__(self) -> Iterator[Segment]:
        return map(self._redactor.segment, self._segments)

    def times(self) -> Iterator[tuple[float, float]]:
        """When what is taken out was said."""
        for segment in self._segments:
            yield from self._redactor.times(segment)


def render_redacted(transcript: Transcript, format: str, segments: Segments, redactor: Redactor) -> Iterator[str]:
    """A transcript in a format (`formats.render_pieces`), without what is taken out; nothing is read before the first.

    Raises:
        ValueError: there is no such format.
    """
    transcript, segments = redactor.redact(transcript, segments)
    yield from render_pieces(transcript, format, segments)


def silences(redactor: Redactor, transcript: Transcript) -> list[tuple[float, float]]:
    """When there is to be silence in the sound of a transcript: seconds, in order, none overlapping."""
    _, redacted = redactor.redact(transcript, transcript.segments)
    assert isinstance(redacted, _Redacted)
    merged: list[tuple[float, float]] = []
    for start, end in sorted(redacted.times()):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((max(start, 0.0), end))
    return merged


# --- pieces -----------------------------------------------------------------------------------------------


def _names_in(segments: Iterable[Segment]) -> frozenset[str]:
    """Words that stand with a capital where no sentence begins, in English, and nowhere without."""
    names: set[str] = set()
    small: set[str] = set()
    for segment in segments:
        if segment.language.lower().split("-")[0] != "en":
            continue
        words = list(_WORD.finditer(segment.text))
        for at, word in enumerate(words):
            if not _capital(word[0]):
                small.add(word[0].casefold())
            elif not _begins(segment.text, words, at):
                names.add(_stem(word[0]))
    return frozenset(name for name in names if name.casefold() not in small)


def _begins(text: str, words: Sequence[re.Match[str]], at: int) -> bool:
    """Whether a word begins a sentence; none does behind a title."""
    if not at:
        return True
    before = words[at - 1]
    return bool(re.search('[.!?…:;"“]', text[before.end() : words[at].start()])) and before[0].casefold() not in _TITLES


def _capital(word: str) -> bool:
    """Whether it is written as a name: one capital, not an abbreviation."""
    return word[0].isupper() and not word.isupper() and _stem(word).casefold() not in _NO_NAMES


def _stem(word: str) -> str:
    return word.removesuffix("'s").removesuffix("’s")


def _is_plain(speaker: Speaker) -> bool:
    """Whether it is called what no person is called."""
    return speaker.name in (f"Speaker {speaker.speaker}", f"Channel {speaker.speaker}", "me", "them")


def _names_of(speaker: Speaker) -> Iterator[str]:
    """What may be said of what a speaker is called: the whole, and its words; common words are none."""
    words = [word[0] for word in _WORD.finditer(speaker.name)]
    if len(words) > 1:
        yield speaker.name
    yield from (word for word in words if word.casefold() not in _STARTERS and len(word) > 1 and not word.islower())


def _merged(spans: Iterable[Span]) -> list[Span]:
    """In order; of those that overlap one, with the first's words; neighbours of a kind are one."""
    merged: list[Span] = []
    for start, end, instead in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and (start < merged[-1][1] or (start <= merged[-1][1] + 1 and instead == merged[-1][2] == "[name]")):
            merged[-1] = merged[-1][0], max(end, merged[-1][1]), merged[-1][2]
        else:
            merged.append((start, end, instead))
    return merged


def _replaced(text: str, spans: Iterable[Span]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, instead in spans:
        pieces += (text[at:start], instead)
        at = end
    return "".join((*pieces, text[at:]))


def _placed(words: Iterable[Word], text: str) -> Iterator[tuple[Word, int, int]]:
    """Each word with where it stands in the text; -1 for one that does not."""
    at = 0
    for word in words:
        said = word.word.strip()
        place = text.find(said, at)
        if place >= 0:
            at = place + len(said)
        yield word, place, at


def _words(words: Iterable[Word], text: str, spans: Sequence[Span]) -> Iterator[Word]:
    last: tuple[Span, Word] | None = None
    for word, place, end in _placed(words, text):
        inside = [span for span in spans if place < 0 or (span[0] < end and place < span[1])]
        if last is not None and (not inside or inside[0] is not last[0]):
            yield last[1]
            last = None
        if not inside:
            yield word
        elif last is not None:
            last = last[0], msgspec.structs.replace(last[1], end=word.end)
        else:
            lead = word.word[: len(word.word) - len(word.word.lstrip())]
            last = inside[0], msgspec.structs.replace(word, word=lead + inside[0][2])
    if last is not None:
        yield last[1]
