"""Words that are always misheard, and what they should be: rules, their file, and how they change a text.

In: rules, or the text of the file that a person keeps them in (TOML: a table `[words]` of wrong = "right"). Out: texts,
words to listen for, corrections that may become rules. A rule is for whole words, whatever their case. This module
opens no file.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .messages import Rule
from .transcript import one_line

MOST_RULES: Final = 500
"""Rules of one session."""

LONGEST: Final = 100
"""Characters of each side of a rule."""

LONGEST_TEXT: Final = 4000
"""A text that rules would make longer than this stays what it was."""

_WORDS: Final = 3
"""Most words of each side of a correction that may become a rule."""

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
    """A new file with these rules."""
    return _HEAD + "".join(f"{_line(rule)}\n" for rule in rules)


def edited(text: str, rules: Sequence[Rule]) -> str:
    """A file's text with these rules in place of those that it has; comments and other lines stay.

    Raises:
        ValueError: it is no such file.
    """
    before, wanted = parse(text), {rule.wrong: rule for rule in rules}
    stay = {rule.wrong for rule in before if wanted.get(rule.wrong) == rule}
    newline = "\r\n" if "\r\n" in text else "\n"
    lines: list[str] = []
    end, in_words = 0, False
    for line in re.split(r"\r?\n", text.rstrip("\r\n")):
        head = line.partition("#")[0].strip()
        in_words = head == "[words]" if head.startswith("[") else in_words
        wrong = _wrong_of(line) if in_words else None
        if wrong is None or wrong in stay:
            lines.append(line)
        if in_words and head:
            end = len(lines)
    lines[end:end] = [_line(rule) for rule in rules if rule.wrong not in stay]
    changed = "".join(line + newline for line in lines)
    try:
        if {rule.wrong: rule for rule in parse(changed)} == wanted:
            return changed
    except ValueError:
        pass
    return write(rules)  # the file is written in another way than a line a rule


def _wrong_of(line: str) -> str | None:
    """The words that a line of the file is a rule for; None if it is none."""
    import tomllib

    try:
        ((wrong, right),) = tomllib.loads(line).items()
    except ValueError:  # also that of TOML
        return None
    return one_line(wrong) if isinstance(right, str) else None


def repeated(texts: Iterable[tuple[str, str, bool]]) -> list[tuple[str, str, int]]:
    """Words that were corrected the same way twice or more: wrong, right, and how often.

    Args:
        texts: what was heard, what it reads now, and whether that is new; only what is new at least once is told.
    """
    count: Counter[tuple[str, str]] = Counter()
    new: set[tuple[str, str]] = set()
    for heard, reads, is_new in texts:
        for pair in _replaced(heard.split(), reads.split()) if heard != reads else ():
            count[pair] += 1
            if is_new:
                new.add(pair)
    return [(*pair, times) for pair, times in count.most_common() if times > 1 and pair in new]


def _replaced(heard: Sequence[str], reads: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Words that stand in place of others, without what stands around them."""
    from difflib import SequenceMatcher  # here: what applies rules compares nothing

    wrong, right = ([_bare(word) for word in words] for words in (heard, reads))
    for what, first, last, begin, end in SequenceMatcher(None, wrong, right, autojunk=False).get_opcodes():
        if what == "replace" and last - first <= _WORDS and end - begin <= _WORDS:
            pair = " ".join(wrong[first:last]).strip().lower(), " ".join(right[begin:end]).strip()
            if all(pair) and pair[0] != pair[1]:
                yield pair


def _bare(word: str) -> str:
    """A word without the marks around it."""
    return re.sub(r"^\W+|\W+$", "", word)


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


def _line(rule: Rule) -> str:
    return f"{_quoted(rule.wrong)} = {_quoted(rule.right)}"


def _quoted(text: str) -> str:
    # A basic string of TOML is one of JSON, but for a delete character that nobody may leave bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
