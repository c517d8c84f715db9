"""Words of any language, without a dictionary: what a sentence is made of, and what in it may be a keyword.

In: text. Out: sentences, terms (for comparing sentences) and keyword candidates. It never ranks anything.

Scripts that put no spaces between words (Chinese, Japanese, Thai and their neighbours), and Korean, whose
particles change every word's end, are cut into overlapping pairs of characters. Pairs find Chinese text about
as well as true words do (Kwok 1997, "Comparing representations in Chinese information retrieval").
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from convod.summary.numbers import is_number_word
from convod.summary.stopwords import (
    CHINESE_FUNCTION_CHARACTERS,
    FUNCTION_WORDS,
    HAN_FUNCTION_WORDS,
    KOREAN_FUNCTION_WORDS,
    WEEKDAYS,
)

_HAN: Final = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA: Final = "\u3040-\u309f\u30a0-\u30ff\u31f0-\u31ff"
_HANGUL: Final = "\u1100-\u11ff\uac00-\ud7a3"
_SPACELESS: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_PAIRED: Final = _HAN + _KANA + _HANGUL + _SPACELESS
# Vowel signs of Indic scripts and combining accents are no letters for `\w`, but they do not end a word.
_LETTER: Final = rf"(?:[^\W_{_PAIRED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff])"

_RUNS: Final = re.compile(rf"(?P<pairs>[{_PAIRED}]+)|(?P<word>{_LETTER}+(?:['’-]{_LETTER}+)*)")
_CANDIDATES: Final = re.compile(
    rf"[{_HAN}]{{2,}}|[\u30a1-\u30ff]{{2,}}|[{_HANGUL}]+|{_LETTER}+(?:['’-]{_LETTER}+)*",
)
_IS_HAN: Final = re.compile(f"[{_HAN}]")
_IS_HANGUL: Final = re.compile(f"[{_HANGUL}]")
_ENDS: Final = re.compile(
    r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?<!\bProf\.)"
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)]))\s+|(?<=[。！？｡।॥])(?![」』”’)])\s*|(?<=[。！？][」』”’)])\s*|\n+"
)

_KOREAN_PARTICLES: Final = re.compile(
    "(?:에서는|으로는|에게서|까지는|부터는|이라고|에서|에게|한테|께서|으로|까지|부터|처럼|보다|마다|이나|이랑|하고|라고|에는|에도|"
    "은|는|이|가|을|를|에|로|와|과|도|의|만|랑)$"
)
_ONE_PARTICLE: Final = frozenset("은는이가을를에로와과도의만")
_KOREAN_VERBS: Final = re.compile(
    "(?:니다|니까|해야|어야|아야|하여|어요|아요|해요|에요|예요|네요|군요|지요|죠|게요|세요|려고|면서|지만|는데|습니까)$|"
    "^(?:있|없|같)(?:으니|으면|는데|어서|지만|고|는|을|어)$"
)


_KOREAN_ENDINGS: Final = re.compile(
    "(?:(?:하|했|하였|되|됐|되었|합|됩|입)?(?:겠|었|았|였)?(?:습니다|습니까|니다|니까)|"
    "(?:하|되|했|됐)?(?:겠|었|았|였|시|으시)?(?:어|아|여|에|예|세|네|게|군|나|까|가|지|는데|거든|잖아|해|돼)요|지요|죠|"
    "(?:하|되)(?:고|는|기|면|지만|려면|는데|니|니까|던|도록|기로)|해야|해서|돼서)$"
)
"""How a verb ends, and the verb "to do" or "to be" with it: what all polite sentences share, and what says nothing."""

_HESITATION: Final = re.compile(
    r"^(?:(?:(?:um+|uh+|erm?|hm+|yeah|yep|okay|ok|"
    r"so(?! (?:far|much|many|long|that|as|do|is|am|are|was|were|will)\b))\b|"
    r"(?:well|then|alright|all right|right|yes|sure|anyway|oh|ah|now|and|you know|i mean|okay then|and then)(?=\s*,))"
    r"[\s,.…-]*|(?:네|예|자|음+|그럼|그러면|그리고|그런데|근데)(?:[,.…]\s*|\s+)|(?:어+|아+)[,.…]\s*)+",
    re.IGNORECASE,
)

_HAN_BREAKS: Final = re.compile(f"[{''.join(sorted(CHINESE_FUNCTION_CHARACTERS))}]+")


def sentences(text: str) -> list[str]:
    """Split a text into sentences, by what ends them in any script; white space becomes one space."""
    return [kept for part in _ENDS.split(text) if (kept := " ".join(part.split()))]


def fluent(sentence: str) -> str:
    """Remove the hesitation at the beginning of a sentence ("So, um, …", "네, …"); perhaps nothing is left."""
    rest = sentence[len(found[0]) :] if (found := _HESITATION.match(sentence)) else sentence
    return rest if rest is sentence or not rest else rest[0].upper() + rest[1:]


def weigh(sentence: str) -> tuple[list[str], float]:
    """Return what a sentence is compared by: words in one case, or pairs of characters.

    With it goes how many words with a meaning of their own it has; a pair of Chinese characters is one.
    """
    words = _words(sentence)
    count = 0.0
    for word in words:
        if len(word) > 1 and not _IS_HANGUL.match(word[0]):
            count += (len(word) + 1) / 2
        else:
            count += not is_function_word(word[0])
    return [term for word in words for term in word], count


def _words(sentence: str) -> list[tuple[str, ...]]:
    """Return the terms of each word, or of each run of characters without spaces."""
    runs = _RUNS.finditer(unicodedata.normalize("NFKC", sentence).casefold())
    return [found for run in runs if (found := _terms_of(run[0], run.lastgroup == "word"))]


@lru_cache(maxsize=1 << 15)
def _terms_of(word: str, spaced: bool) -> tuple[str, ...]:
    if spaced:
        # A plural is the same word; a real stemmer would need to know the language.
        return (word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "su'’" else word,)
    if _IS_HANGUL.match(word):
        if word in KOREAN_FUNCTION_WORDS:
            return ()
        stem = _KOREAN_ENDINGS.sub("", word)
        # Two syllables are as likely a word as one with a particle.
        word = _KOREAN_PARTICLES.sub("", stem) if stem == word and len(word) > 2 else stem
    if len(word) < 2:
        return (word,) if word else ()
    return tuple(word[at : at + 2] for at in range(len(word) - 1))


def is_function_word(term: str) -> bool:
    """Whether a term says nothing about a subject."""
    return term in FUNCTION_WORDS or (
        len(term) == 2 and not term.isascii() and set(term) <= CHINESE_FUNCTION_CHARACTERS
    )


def says_nothing(sentence: str) -> bool:
    """Whether every word of a Korean sentence is a function word, as in "네 알겠습니다"; elsewhere terms tell."""
    words = re.findall(r"\w+", sentence)
    return bool(words) and all(word in KOREAN_FUNCTION_WORDS for word in words)


def keywords(texts: Sequence[str], most: int) -> list[str]:
    """The words and names a talk comes back to, most frequent first; equals in the order of the talk.

    A word counts if it is not a function word: it is not in the lists, it does not stand in every fifth sentence
    (in talks long enough to tell), and it has three letters or is an abbreviation. Two words that keep standing
    together are one keyword.
    """
    forms: Counter[str] = Counter()
    sentences_with: Counter[str] = Counter()
    rows: list[list[str]] = []
    for text in texts:
        row = _CANDIDATES.findall(unicodedata.normalize("NFKC", text))
        forms.update(row)
        sentences_with.update(set(row))
        rows.append(row)
    frequent = {form for form, count in sentences_with.items() if len(rows) >= 40 and count > len(rows) / 5}
    short = _one_syllable(forms)
    keys = {form: key for form in forms if form not in frequent and (key := short.get(form) or _key(form))}
    counts: Counter[str] = Counter()
    written: dict[str, str] = {}
    best: dict[str, int] = {}
    for form, key in keys.items():
        # The form that is met most stands for all: "Budget" begins a sentence, "budget" stands elsewhere.
        if forms[form] > best.get(key, 0):
            best[key] = forms[form]
            written[key] = key if _IS_HANGUL.match(form) else form.removesuffix("'s").removesuffix("’s")
        counts[key] += forms[form]
    _add_phrases(rows, keys, counts, written)
    _add_han(forms, counts, written)
    # sorted() is stable and Counter keeps the order of first sight: equals stay in the order of the talk.
    picked: list[str] = []
    for key in sorted(counts, key=lambda key: -counts[key] * _weight(key)):
        if not any(_says_again(key, other) for other in picked):
            picked.append(key)
        if len(picked) == most:
            break
    return [written.get(key, key) for key in picked]


def _one_syllable(forms: Collection[str]) -> dict[str, str]:
    """Korean nouns of one syllable, by what they stand as: those that are met with several particles (키를, 키는)."""
    found: dict[str, list[str]] = {}
    for form in forms:
        if len(form) == 2 and _IS_HANGUL.match(form) and form[1] in _ONE_PARTICLE and form not in KOREAN_FUNCTION_WORDS:
            found.setdefault(form[0], []).append(form)
    return {form: noun for noun, several in found.items() if len(several) > 1 for form in several}


def _key(form: str) -> str:
    """What a written form is counted as; "" for what is not a keyword. Long runs of Chinese are for `_add_han`."""
    if _IS_HANGUL.match(form):
        stem = _KOREAN_PARTICLES.sub("", form) if len(form) > 2 else form
        stem = stem if len(stem) >= 2 else form
        common = form in KOREAN_FUNCTION_WORDS or stem in KOREAN_FUNCTION_WORDS or is_number_word(stem)
        verb = _KOREAN_VERBS.search(form) or _KOREAN_ENDINGS.search(form)
        return "" if len(stem) < 2 or common or verb or (len(form) == 2 and form[1] == "를") else stem
    if _IS_HAN.match(form):
        return "" if len(form) > 4 or form in HAN_FUNCTION_WORDS or set(form) & CHINESE_FUNCTION_CHARACTERS else form
    key = form.casefold().removesuffix("'s").removesuffix("’s")
    if key in FUNCTION_WORDS or key in WEEKDAYS or "'" in key or "’" in key or key.isdigit() or is_number_word(key):
        return ""
    if len(key) < 3 and not (len(form) == 2 and form.isupper()) and key.isascii():
        return ""
    return key[:-1] if len(key) > 3 and key[-1] == "s" and key[-2] not in "su" else key


def _add_phrases(
    rows: Sequence[list[str]], keys: dict[str, str], counts: Counter[str], written: dict[str, str]
) -> None:
    """Neighbours that are met together twice at least, and about as often as the rarer one alone."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row in rows:
        pairs.update(pair for pair in pairwise(row) if pair[0] in keys and pair[1] in keys)
    for (first, second), count in pairs.items():
        one, two = keys[first], keys[second]
        if count >= 2 and one != two and " " not in one and count >= 0.5 * min(counts[one], counts[two]):
            key = f"{one} {two}"
            counts[key] += count
            written.setdefault(key, f"{first} {second}")


def _add_han(forms: Counter[str], counts: Counter[str], written: dict[str, str]) -> None:
    """Words of two to four characters that hide in runs of Chinese, which has no spaces.

    Kanji between kana, and short runs, are words as they stand. Elsewhere a pair must be met twice, and three or
    four characters are only counted where they begin with one of the most frequent pairs.
    """
    parts: Counter[str] = Counter()
    for form, count in forms.items():
        if _IS_HAN.match(form) and not _key(form):
            for part in _HAN_BREAKS.split(form):
                parts[part] += count
    grams: Counter[str] = Counter()
    for part, count in parts.items():
        if 2 <= len(part) <= 4:
            grams[part] += count
        else:
            for at in range(len(part) - 1):
                grams[part[at : at + 2]] += count
    frequent = {gram for gram, count in grams.most_common(100) if count >= 2 and gram not in HAN_FUNCTION_WORDS}
    longer: Counter[str] = Counter()
    for part, count in parts.items():
        for at in range(len(part) - 2 if len(part) > 4 else 0):
            if part[at : at + 2] in frequent:
                longer[part[at : at + 3]] += count
                if at + 4 <= len(part):
                    longer[part[at : at + 4]] += count
    for gram in sorted(frequent | {gram for gram, count in longer.items() if count >= 2}):
        counts[gram] += grams[gram] + longer[gram]
        written.setdefault(gram, gram)


def _weight(key: str) -> float:
    """Longer candidates say more; of a word and a phrase that it is always in, the phrase wins."""
    return 1.0 + (min(len(key), 16) / 16 if key.isascii() else min(len(key), 4) / 4)


def _says_again(key: str, other: str) -> bool:
    """Whether two keywords overlap: one in the other, a word, or (in Chinese) a pair of characters."""
    if key in other or other in key:
        return True
    if _IS_HAN.match(key):
        if key[0] == other[-1] or key[-1] == other[0]:
            return True  # the border between two words was cut wrongly
        return any(key[at : at + 2] in other for at in range(len(key) - 1))
    return bool({*key.split()} & {*other.split()})
