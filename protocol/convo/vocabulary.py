"""Words that are always misheard, and what they should be: rules, their file, and how they change a text.

In: rules, or the text of the file that a person keeps them in (TOML: a table `[words]` of wrong = "right"). Out: texts,
words to listen for. A rule is for whole words, whatever their case. This module opens no file.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from .messages import Rule
from .transcript import one_line

MOST_RULES: Final = 500
"""Rules of one session."""

LONGEST: Final = 100
"""Characters of each side of a rule."""

LONGEST_TEXT: Final = 4000
"""A text that rules would make longer than this stays what it was."""

_HEAD: Final = (
    "# Words that are misheard, and what they should be; `convo vocabulary add WRONG RIGHT` adds one.\n[words]\n"
)


class Vocabulary:
    """Rules, ready to be applied; of two for the same words the first counts."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rights: dict[str, str] = {}
        words = []
        for rule in rules:
            if (wrong := _folded(rule.wrong)) and wrong not in self._rights:
                self._rights[wrong] = one_line(rule.right)
                words.append(one_line(rule.wrong))
        words.sort(key=len, reverse=True)  # the longest first: "pie torch" before "pie"
        self._pattern = re.compile("|".join(map(_whole, words)), re.IGNORECASE) if words else None

    @property
    def hotwords(self) -> str:
        """What to listen for."""
        return ", ".join(dict.fromkeys(right for right in self._rights.values() if right))

    def apply(self, text: str) -> str:
        """A text as the rules have it, each word changed once at most."""
        if self._pattern is None or self._pattern.search(text) is None:
            return text
        changed = self._pattern.sub(lambda found: self._rights.get(_folded(found[0]), found[0]), text)
        changed = one_line(changed)
        return changed if len(changed) <= LONGEST_TEXT else text


def parse(text: str) -> list[Rule]:
    """The rules in the file.

    Raises:
        ValueError: it is no such file; the text is a part of a sentence.
    """
    import tomllib  # here: what applies rules reads no file

    try:
        words = tomllib.loads(text).get("words", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"it is no TOML ({one_line(str(error))})") from None
    if not isinstance(words, dict) or not all(isinstance(right, str) for right in words.values()):
        raise ValueError('it needs a table [words] with lines such as "pie torch" = "PyTorch"')
    rules = [Rule(wrong=one_line(wrong), right=one_line(right)) for wrong, right in words.items()]
    for rule in rules:
        check(rule)
    if len(rules) > MOST_RULES:
        raise ValueError(f"it has {len(rules)} rules, more than {MOST_RULES}")
    return rules


def write(rules: Iterable[Rule]) -> str:
    """The file with these rules."""
    return _HEAD + "".join(f"{_quoted(rule.wrong)} = {_quoted(rule.right)}\n" for rule in rules)


def check(rule: Rule) -> None:
    """Raise ValueError for a rule that says nothing or too much; the text is a part of a sentence."""
    if not _folded(rule.wrong):
        raise ValueError("a rule says which words are wrong")
    if max(len(rule.wrong), len(rule.right)) > LONGEST:
        raise ValueError(f"a side of a rule has at most {LONGEST} characters")


def same(one: str, other: str) -> bool:
    """Whether two rules are for the same words."""
    return _folded(one) == _folded(other)


def _folded(words: str) -> str:
    return one_line(words).lower()


def _whole(words: str) -> str:
    """A pattern for words as a whole, however many spaces are between them."""
    inner = r"\s+".join(map(re.escape, words.split()))
    return (r"(?<!\w)" if _joins(words[0]) else "") + inner + (r"(?!\w)" if _joins(words[-1]) else "")


def _joins(char: str) -> bool:
    """Whether a word goes on beside this character, unless there is a space: not in scripts that have none."""
    if not (char.isalnum() or char == "_"):
        return False
    return unicodedata.east_asian_width(char) not in "WF" or "\uac00" <= char <= "\ud7a3"


def _quoted(text: str) -> str:
    # A basic string of TOML is one of JSON, but for a delete character that nobody may leave bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
