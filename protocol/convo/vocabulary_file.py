"""The user's own vocabulary, `vocabulary.toml` in $XDG_CONFIG_HOME/convo (else ~/.config/convo).

In: rules. Out: rules; the file, whole or not at all, with its comments, its mode, and a link if it is one.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from .messages import Rule
from .text import file_name
from .transcript import one_line
from .vocabulary import check, edited, parse, same


class UnusableVocabulary(Exception):
    """The file cannot be read, or holds no rules; the text is a sentence."""


def path() -> Path:
    """Where the file is, or would be."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "convo" / "vocabulary.toml"


def rules() -> list[Rule]:
    """The rules in the file; none if there is no file.

    Raises:
        UnusableVocabulary: it cannot be read.
    """
    return _read()[1]


def add(rule: Rule) -> None:
    """Write a rule into the file, in place of one for the same words.

    Raises:
        UnusableVocabulary: the file cannot be read, and stays what it is.
        ValueError: it is no rule, or one too many; the text is a part of a sentence.
        OSError: the file cannot be written.
    """
    text, known = _read()
    rule = Rule(wrong=one_line(rule.wrong), right=one_line(rule.right))
    check(rule)
    left = [*(one for one in known if not same(one.wrong, rule.wrong)), rule]
    text = edited(text, left)
    parse(text)
    _write(text)


def remove(wrong: str) -> bool:
    """Remove the rule for some words. Returns whether there was one. Raises like `add`."""
    text, known = _read()
    left = [one for one in known if not same(one.wrong, wrong)]
    if len(left) < len(known):
        _write(edited(text, left))
    return len(left) < len(known)


def _read() -> tuple[str, list[Rule]]:
    try:
        text = path().read_bytes().decode()
        return text, parse(text)
    except FileNotFoundError:
        return "", []
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    raise UnusableVocabulary(f"{file_name(str(path()))} cannot be used: {why}; correct or remove it.")


def _write(text: str) -> None:
    target = Path(os.path.realpath(path()))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", prefix=".convo-", dir=target.parent, delete=False) as file:
        try:
            file.write(text.encode())
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise
