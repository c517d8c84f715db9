"""The user's vocabulary: what is misheard, and what it should be.

In: rules added and removed, corrections of lines. Out: the file that `convo vocabulary` shares, rules for new sessions,
rules to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from textual.message import Message

from convo import vocabulary_file
from convo.messages import Rule
from convo.vocabulary import repeated, same
from convo.vocabulary_file import UnusableVocabulary

from ..messages import Notice
from ..model.session import Line


def known_rules(post: Callable[[Message], object]) -> list[Rule]:
    """The rules; none, and a notice to `post`, if the file cannot be used."""
    try:
        return vocabulary_file.rules()
    except UnusableVocabulary as error:
        post(Notice(str(error), "warning"))
        return []


def change_rule(wrong: str, right: str | None) -> str:
    """Add a rule, or remove one. Returns what went wrong, or an empty string."""
    try:
        if right is None:
            vocabulary_file.remove(wrong)
        else:
            vocabulary_file.add(Rule(wrong=wrong, right=right))
    except UnusableVocabulary as error:
        return str(error)
    except ValueError as error:
        return f"This is no rule: {error}."
    except OSError as error:
        return f"Cannot write {vocabulary_file.path()}: {error.strerror or error}."
    return ""


def offered(
    lines: Sequence[Line], corrected: int, text: str, known: Collection[Rule], declined: Collection[str]
) -> tuple[str, str, int] | None:
    """What may become a rule now that the segment `corrected` reads `text`: words that were corrected the same way
    twice or more; wrong, right, and how often.
    """
    texts = (
        (
            line.text if line.original is None else line.original,
            text if line.number == corrected else line.text,
            line.number == corrected,
        )
        for line in lines
    )
    taken = [*declined, *(rule.wrong for rule in known)]
    return next((one for one in repeated(texts) if not any(same(one[0], wrong) for wrong in taken)), None)
