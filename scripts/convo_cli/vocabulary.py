"""The user's own vocabulary: list it, add a rule, remove one; and the rules that sessions are created with.

In: `vocabulary.toml`, see `convo.vocabulary_file`. Out: rules; the file.
"""

from __future__ import annotations

import sys

from convo import vocabulary_file
from convo.messages import Rule
from convo.vocabulary_file import UnusableVocabulary

from .arguments import Options
from .errors import Exit, Problem
from .output import json_line, note, on_screen, put
from .text import clean, file_name, table


def rules() -> list[Rule]:
    """The rules in the file; none if there is no file.

    Raises:
        Problem: it cannot be read.
    """
    try:
        return vocabulary_file.rules()
    except UnusableVocabulary as error:
        raise Problem(Exit.USAGE, str(error)) from None


async def vocabulary(options: Options) -> None:
    """`convo vocabulary [add WRONG RIGHT | rm WRONG]`."""
    try:
        if options.action == "add":
            vocabulary_file.add(Rule(wrong=clean(options.wrong), right=clean(options.right)))
        elif options.action == "rm":
            if not vocabulary_file.remove(options.wrong):
                raise Problem(Exit.OTHER, f"No rule is for {clean(options.wrong)!r}: `convo vocabulary` lists them.")
        else:
            _list(rules(), json=options.json)
    except UnusableVocabulary as error:
        raise Problem(Exit.USAGE, str(error)) from None
    except ValueError as error:
        raise Problem(Exit.USAGE, f"This is no rule: {error}.") from None
    except OSError as error:
        name = file_name(str(vocabulary_file.path()))
        raise Problem(Exit.OTHER, f"Cannot write {name}: {error.strerror or error}.") from None


def _list(known: list[Rule], *, json: bool) -> None:
    if json:
        put("".join(json_line(rule) for rule in known))
        return
    if not known:
        note("There are no rules: `convo vocabulary add WRONG RIGHT` adds one.")
    rows = [(rule.wrong, rule.right) for rule in known]
    put(table(("HEARD AS", "SHOULD BE"), rows, screen=on_screen(sys.stdout)) if rows else "")
