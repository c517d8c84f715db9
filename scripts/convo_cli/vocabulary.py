"""The user's own vocabulary: list it, add a rule, remove one; and the rules that sessions are created with.

In: `vocabulary.toml` in $XDG_CONFIG_HOME/convo (else ~/.config/convo). Out: rules; the file, whole or not at all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from convo.messages import Rule
from convo.vocabulary import check, parse, same, write

from .arguments import Options
from .errors import Exit, Problem
from .output import json_line, note, on_screen, put, write_file
from .text import clean, file_name, table


def path() -> Path:
    """Where the file is, or would be."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "convo" / "vocabulary.toml"


def rules() -> list[Rule]:
    """The rules in the file; none if there is no file.

    Raises:
        Problem: it cannot be read.
    """
    try:
        return parse(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8" if _garbled(error) else error
        raise Problem(Exit.USAGE, f"{file_name(str(path()))} cannot be used: {why}; correct or remove it.") from None


def _garbled(error: Exception) -> bool:
    return isinstance(error, UnicodeDecodeError)


async def vocabulary(options: Options) -> None:
    """`convo vocabulary [add WRONG RIGHT | rm WRONG]`."""
    known = rules()
    if options.action == "add":
        rule = Rule(wrong=clean(options.wrong), right=clean(options.right))
        try:
            check(rule)
            text = write([*(one for one in known if not same(one.wrong, rule.wrong)), rule])
            parse(text)
        except ValueError as error:
            raise Problem(Exit.USAGE, f"This is no rule: {error}.") from None
        _save(text)
    elif options.action == "rm":
        left = [one for one in known if not same(one.wrong, options.wrong)]
        if len(left) == len(known):
            raise Problem(Exit.OTHER, f"No rule is for {clean(options.wrong)!r}: `convo vocabulary` lists them.")
        _save(write(left))
    elif options.json:
        put("".join(json_line(rule) for rule in known))
    else:
        if not known:
            note("There are no rules: `convo vocabulary add WRONG RIGHT` adds one.")
        rows = [(rule.wrong, rule.right) for rule in known]
        put(table(("HEARD AS", "SHOULD BE"), rows, screen=on_screen(sys.stdout)) if rows else "")


def _save(text: str) -> None:
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(Exit.OTHER, f"Cannot make {file_name(str(path().parent))}: {error.strerror}.") from None
    write_file(path(), text)
