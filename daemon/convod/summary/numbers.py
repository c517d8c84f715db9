"""Numbers in a text, however they are written: digits, English words, Korean and Chinese numerals.

In: text. Out: each number's value and how it stood there. It never judges whether a number is right. "1,000", "1000",
"one thousand", "천" and "一千" are the same number. What is said digit by digit ("two five") is two numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_UNITS: Final = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS: Final = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_ORDINALS: Final = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}  # fmt: skip
_WORDS: Final = {**_UNITS, **_TENS, **_SCALES, **_ORDINALS}
_ALTERNATIVES: Final = "|".join(sorted(_WORDS, key=len, reverse=True))
_ENGLISH: Final = re.compile(rf"\b(?:{_ALTERNATIVES})(?:(?:\s+and\s+|[\s-]+)(?:{_ALTERNATIVES}))*(?!\w)", re.IGNORECASE)

_DIGITS: Final = re.compile(r"(?:(?<![\d.,])\d+(?:,\d{3})*(?:\.\d+)?(?!\d)|\d+)(?![\d십백천만억十百千万萬亿億])")
_EAST: Final = {
    **{char: value for value, char in enumerate("영일이삼사오육칠팔구")},
    **{char: value for value, char in enumerate("〇一二三四五六七八九")},
    "공": 0, "零": 0, "两": 2, "兩": 2,
}  # fmt: skip
_EAST_SMALL: Final = {"십": 10, "백": 100, "천": 1000, "十": 10, "百": 100, "千": 1000}
_EAST_LARGE: Final = {"만": 10**4, "억": 10**8, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_EAST_ALL: Final = "".join((*_EAST, *_EAST_SMALL, *_EAST_LARGE))
# Hangul numerals are also syllables of common words: alone they count only before what is counted.
_COUNTED: Final = (
    "원|명|개|월|일|년|시|분|초|주|달|회|번|퍼센트|프로|층|살|세|대|권|건|가지|시간|킬로|미터|달러|유로|"
    "조|페이지|밀리그램|밀리|도|차|호|인|팀|배"
)
_EASTERN: Final = re.compile(
    rf"(?:[0-9][0-9,.]*)?(?:(?<![가-힣])[영일이삼사오육칠팔구공십백천만억]+(?=\s?(?:{_COUNTED}))|(?<=[0-9])[십백천만억]+|"
    r"[〇零一二三四五六七八九两兩十百千万萬亿億]+)"
)
_NATIVE: Final = {
    "하나": 1, "한": 1, "둘": 2, "두": 2, "셋": 3, "세": 3, "넷": 4, "네": 4, "다섯": 5, "여섯": 6, "일곱": 7,
    "여덟": 8, "아홉": 9,
}  # fmt: skip
_NATIVE_TENS: Final = {
    "열": 10, "스물": 20, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50, "예순": 60, "일흔": 70, "여든": 80, "아흔": 90,
}  # fmt: skip
_NATIVELY: Final = re.compile(
    rf"(?<![가-힣])(?:({'|'.join(_NATIVE_TENS)})?({'|'.join(_NATIVE)})|({'|'.join(_NATIVE_TENS)}))"
    rf"(?=\s?(?:{_COUNTED}|사람|곳|잔|마리|장))"
)


def numbers(text: str) -> Iterator[tuple[float, str]]:
    """Every number of a text with its words, in no particular order; one that is written in two ways comes twice."""
    for found in _DIGITS.finditer(text):
        yield float(found[0].replace(",", "")), found[0]
    for found in _ENGLISH.finditer(text):
        for value in _english(re.split(r"[\s-]+", found[0].lower())):
            yield float(value), found[0]
    for found in _EASTERN.finditer(text):
        yield _eastern(found[0]), found[0]
    for found in _NATIVELY.finditer(text):
        tens = found[1] or found[3]
        yield float(_NATIVE_TENS.get(tens, 0) + _NATIVE.get(found[2], 0)), found[0]


def is_number_word(word: str) -> bool:
    """Whether a word, in small letters, is nothing but a number."""
    return word in _WORDS or (len(word) > 1 and all(char in _EAST_ALL for char in word))


def _english(words: list[str]) -> Iterator[int]:
    """The numbers that words in a row make: "twenty five" is one, "two five" are two."""
    total = part = 0
    room = 10**12  # what may still be added to the part: less than its smallest place
    begun = False
    for word in words:
        if word == "and":
            continue
        value = _WORDS[word]
        if word in _SCALES and begun:
            part = max(part, 1) * value
            room = value
            if value >= 1000:
                total, part, room = total + part, 0, value
        elif not begun or value < room:
            part += value
            begun = True
            room = 10 if word in _TENS else value if word in _SCALES else 0
        else:
            yield total + part
            total, part, begun = 0, value, True
            room = 10 if word in _TENS else value if word in _SCALES else 0
    yield total + part


def _eastern(text: str) -> float:
    lead = re.match(r"[0-9][0-9,.]*", text)
    digits = float(lead[0].replace(",", "").rstrip(".") or 0) if lead else 0.0
    total, part, digit = 0.0, 0.0, digits
    if not lead and not any(char in _EAST_SMALL or char in _EAST_LARGE for char in text):
        return float("".join(str(_EAST[char]) for char in text))  # read out digit by digit, as years are
    for char in text[lead.end() if lead else 0 :]:
        if char in _EAST_SMALL:
            part += (digit or 1) * _EAST_SMALL[char]
            digit = 0
        elif char in _EAST_LARGE:
            total += (part + digit or 1) * _EAST_LARGE[char]
            part = digit = 0
        else:
            digit = digit * 10 + _EAST[char]
    return total + part + digit
