"""How a summary is written: the built-in styles, and the user's own templates.

In: a name, and a directory of templates. Out: a `Style`, or one sentence that says what is wrong with a template. A
style's name may come from the network: it is compared with the names of existing files and is never made into a
path. It never does more than read that directory.

A style with fields asks for a text under each of several names; without, for one text. A template is a TOML file whose
name is that of its style:

    instructions = "Notes of our stand-up: short, one line a person."
    [fields]
    done = "What was finished since yesterday."
    blocked = "What holds somebody up, and whom."
    [labels]              # optional: what people see above the text, instead of the name
    blocked = "In the way"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from convod.summary.text import line

SYSTEM_DIRECTORY: Final = Path("/etc/convod/styles")

FIELDS: Final = 12
"""Most fields of a template: each is a separate question to the model."""

FILE_BYTES: Final = 65536
_TEXT_CHARS: Final = 1000
_LABEL_CHARS: Final = 60
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class BadTemplate(Exception):
    """A template cannot be used; the text is one sentence that names the file and what to correct."""


class Field(msgspec.Struct, frozen=True):
    """A part of the summary: its name for programs, its label for people, and what a model should write there."""

    name: str
    label: str
    ask: str


class Style(msgspec.Struct, frozen=True):
    """Instructions, and the fields of the summary in order; without fields it is one text."""

    name: str
    instructions: str
    fields: tuple[Field, ...] = ()
    labels: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    """Labels by language and name, where they differ from those of the fields."""

    def label(self, name: str, language: str) -> str:
        """Return the heading that people see above a field."""
        known = self.labels.get(language.lower().replace("_", "-").split("-")[0], {})
        return known.get(name) or next((part.label for part in self.fields if part.name == name), name)


BUILT_IN: Final[Mapping[str, Style]] = MappingProxyType(
    {
        style.name: style
        for style in (
            Style(
                "brief",
                "Write two to five sentences that say what the talk was about and how it ended. "
                "At most six key points.",
            ),
            Style(
                "minutes",
                "Write minutes of a meeting. Key points: what else should be remembered. Action items: who does what "
                "until when, with the owner and the due date wherever they were said.",
                (
                    Field("discussion", "Discussion", "what was discussed, topic by topic"),
                    Field("decisions", "Decisions", "every decision that was taken, one a line"),
                    Field("open_questions", "Open questions", "every question that was left open, one a line"),
                ),
                {"ko": {"discussion": "논의", "decisions": "결정 사항", "open_questions": "미결 사항"}},
            ),
            Style(
                "bullets",
                "Write the summary as short lines, each begun with '- ', in the order of the talk, at most ten. "
                "Key points: the three to six that matter most.",
            ),
            Style(
                "lecture",
                "Write notes of a lecture for someone who missed it: the subject, the line of argument, definitions "
                "and examples in their order. Key points: what a student should remember. Action items: reading or "
                "exercises that were set.",
            ),
            Style(
                "consultation",
                "Write notes of a consultation between a doctor and a patient, only of what was said: add no diagnosis "
                "and no advice of your own. Key points: symptoms, findings, doses exactly as spoken. Action items: "
                "what the patient or the doctor is to do.",
                (
                    Field("complaint", "Complaint", "what the patient complains of, since when, and its history"),
                    Field("findings", "Findings", "what was examined, measured and found"),
                    Field("recommendation", "Recommendation", "what the doctor recommends or prescribes"),
                ),
                {"ko": {"complaint": "호소 증상", "findings": "소견", "recommendation": "권고"}},
            ),
        )
    }
)


class Styles:
    """All styles by name. Templates are read when they are asked for, so that an edited one counts at once."""

    def __init__(self, directory: str = "") -> None:
        """`directory` "" is the user's, then the system's."""
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"  # where the settings file is looked for, too
        own = Path(config).expanduser() / "convod" / "styles"
        self._directories = [Path(directory).expanduser()] if directory else [own, SYSTEM_DIRECTORY]

    def names(self) -> list[str]:
        """Return every name that `get` knows."""
        return [*BUILT_IN, *sorted(self._files())]

    def get(self, name: str) -> Style:
        """Return the style of that name; a template cannot take a built-in name.

        Raises:
            KeyError: there is none.
            BadTemplate: there is one, and it is wrong.
        """
        return BUILT_IN[name] if name in BUILT_IN else read(self._files()[name])

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for directory in self._directories:
            try:
                paths = sorted(directory.glob("*.toml"))
            except OSError:
                continue
            for path in paths:
                if _NAME.fullmatch(path.stem) and path.stem not in BUILT_IN:
                    found.setdefault(path.stem, path)
        return found


def read(path: Path) -> Style:
    """Read the style in a template.

    Raises:
        BadTemplate: it cannot be read, or is not as the top of this module says.
    """
    import tomllib  # where there is a template to read

    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise BadTemplate(f"The summary template {path} is larger than {FILE_BYTES} bytes: shorten it")
        tree = tomllib.loads(data.decode())
    except OSError as error:
        raise BadTemplate(f"The summary template {path} cannot be read ({error.strerror}): make it readable") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadTemplate(f"The summary template {path} is no TOML ({error}): correct it") from error
    unknown = sorted(tree.keys() - {"instructions", "fields", "labels"})
    if unknown:
        raise BadTemplate(
            f"The summary template {path} has {unknown[0]!r}: it may have instructions, fields and labels"
        )
    fields, labels = _texts(path, tree, "fields"), _texts(path, tree, "labels")
    if not fields:
        raise BadTemplate(
            f"The summary template {path} has no [fields]: name at least one, with what is to stand there"
        )
    if len(fields) > FIELDS:
        raise BadTemplate(f"The summary template {path} has {len(fields)} fields: leave at most {FIELDS}")
    stray = sorted(labels.keys() - fields.keys())
    if stray:
        raise BadTemplate(f"The summary template {path} has a label for {stray[0]!r}, which is not among its [fields]")
    return Style(
        name=path.stem,
        instructions=_text(path, "instructions", tree.get("instructions", "Write what the fields ask for.")),
        fields=tuple(
            Field(name, line(labels.get(name) or _label(name), _LABEL_CHARS), ask) for name, ask in fields.items()
        ),
    )


def _texts(path: Path, tree: Mapping[str, Any], table: str) -> dict[str, str]:
    values = tree.get(table, {})
    if not isinstance(values, dict):
        raise BadTemplate(f"In the summary template {path}, {table} is not a table: write [{table}] above its lines")
    for name in values:
        if not _NAME.fullmatch(name):
            raise BadTemplate(
                f"The summary template {path} has a field {name!r}: a name is 1 to 40 of a to z, 0 to 9, _ and -"
            )
    return {name: _text(path, f"{table}.{name}", value) for name, value in values.items()}


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadTemplate(f"The summary template {path} has no text at {key}: write one in quotes")
    return line(value, _TEXT_CHARS)


def _label(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ")
    return words[0].upper() + words[1:]
