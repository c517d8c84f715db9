"""Text: sentences of short office meetings and everyday talk, drawn from templates.

Comes in: a `random.Random`. Goes out: one sentence, numbers spelled as words, so that what is written is what is
spoken. Sentences fall into two halves that never meet: `is_held_out` sends every fiftieth one, by a hash of its text,
to evaluation. Some names and numbers never occur in training at all (`held_out_names`, `number_is_held_out`).
"""

import hashlib
import random
import tomllib
from collections.abc import Callable
from importlib.resources import files

#: Lists of words and templates by name.
WORDS: dict[str, list[str]] = tomllib.loads(files(__package__).joinpath("words.toml").read_text())

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(n: int) -> str:
    """0 <= n < 10,000 as English words without hyphens: 1205 -> "one thousand two hundred five"."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10 - 2] + (f" {_ONES[n % 10]}" if n % 10 else "")
    size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{number_words(n // size)} {name}" + (f" {number_words(n % size)}" if n % size else "")


def number_is_held_out(n: int) -> bool:
    """Numbers of three or four digits that training never speaks: one in twenty."""
    return n >= 100 and n % 20 == 7


def _clock(r: random.Random) -> str:
    hour = number_words(r.randint(1, 12))
    forms = ("half past {}", "{} thirty", "{} fifteen", "quarter to {}", "{} in the evening", "{} forty five")
    return r.choice(forms).format(hour)


def _year(r: random.Random) -> str:
    century, rest = r.choice(["nineteen", "twenty"]), r.randint(10, 99)
    return f"{century} {number_words(rest)}"


def _big(r: random.Random, held_out: bool) -> str:
    while True:
        sizes = (r.randint(21, 99), r.randint(100, 999), r.randint(1000, 9999))
        n = r.choice([*sizes, 100 * r.randint(1, 9), 1000 * r.randint(1, 9)])
        if (n >= 100 or not held_out) and number_is_held_out(n) == held_out:
            return number_words(n)


def is_held_out(sentence: str) -> bool:
    """True for the fiftieth of all sentences that only evaluation may speak."""
    return hashlib.blake2b(sentence.encode(), digest_size=4).digest()[0] < 5


def _fill(r: random.Random, template: str, wide: bool, unseen: bool) -> str:
    def pick(name: str) -> str:
        core, more = WORDS[name], WORDS.get(f"more_{name}", [])
        return r.choice(core + more) if wide else r.choice(core)

    def person() -> str:
        return r.choice(WORDS["held_out_names"]) if unseen else pick("names")

    slots: dict[str, Callable[[], str]] = {
        "name": person,
        "name2": person,
        "team": lambda: pick("teams"),
        "thing": lambda: pick("things"),
        "thing2": lambda: pick("things"),
        "adj": lambda: pick("adjectives"),
        "adj2": lambda: pick("adjectives"),
        "verb": lambda: pick("verbs"),
        "verb2": lambda: pick("verbs"),
        "past": lambda: pick("pasts"),
        "day": lambda: pick("days"),
        "day2": lambda: pick("days"),
        "month": lambda: pick("months"),
        "time": lambda: pick("times"),
        "num": lambda: pick("small_numbers"),
        "num2": lambda: pick("small_numbers"),
        "unit": lambda: pick("units"),
        "unit2": lambda: pick("units"),
        "place": lambda: pick("places"),
        "ord": lambda: pick("ordinals"),
        "big": lambda: _big(r, unseen),
        "digits": lambda: " ".join(_ONES[r.randrange(10)] for _ in range(r.randint(3, 6))),
        "clock": lambda: _clock(r),
        "year": lambda: _year(r),
        "free": lambda: " ".join(pick("free_words") for _ in range(r.randint(2, 6))),
    }
    text = template
    for slot, fill in slots.items():
        if f"{{{slot}}}" in text:
            text = text.replace(f"{{{slot}}}", fill())
    return text[0].upper() + text[1:]


def sentence(r: random.Random, *, wide: float = 0.4, held_out: bool = False) -> str:
    """One sentence of the training half, or with `held_out` of the other.

    `wide` is the share drawn from the wide vocabulary (more names, things, verbs, spelled numbers, clock times, free
    words) instead of the core one. The few fixed phrases ("Yes, exactly.") belong to both halves: there are too few to
    divide.
    """
    fixed = 0.12
    while True:
        is_wide = r.random() < wide
        if r.random() < fixed:
            return r.choice(WORDS["more_fixed" if is_wide else "fixed"])
        templates = WORDS["templates"]
        template = r.choice(WORDS["more_templates"] + templates if is_wide else templates)
        text = _fill(r, template, is_wide, unseen=False)
        if is_held_out(text) == held_out:
            return text
        if held_out:  # one draw in fifty gets here again and again: all would end as fixed phrases
            fixed = 0.0


def unseen_sentence(r: random.Random) -> str:
    """A sentence around a name or a number that training never speaks."""
    templates = [t for t in WORDS["templates"] + WORDS["more_templates"] if "{name" in t or "{big}" in t]
    return _fill(r, r.choice(templates), wide=True, unseen=True)
