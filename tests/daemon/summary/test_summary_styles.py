"""Styles by name: the built-in ones, templates of the user's own, and what is wrong with a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from convod.summary import STYLES
from convod.summary.styles import FIELDS, BadTemplate, Styles, read

STANDUP = """
instructions = "Notes of our stand-up."
[fields]
done = "What was finished since yesterday."
in_the_way = "What holds somebody up, and whom."
[labels]
done = "Finished"
"""


def test_a_template_is_a_style(tmp_path: Path) -> None:
    (tmp_path / "standup.toml").write_text(STANDUP)
    styles = Styles(str(tmp_path))
    assert styles.names() == [*STYLES, "standup"]
    style = styles.get("standup")
    assert style.instructions == "Notes of our stand-up."
    assert [(part.name, part.label, part.ask) for part in style.fields] == [
        ("done", "Finished", "What was finished since yesterday."),
        ("in_the_way", "In the way", "What holds somebody up, and whom."),
    ]


def test_an_edited_template_counts_at_once(tmp_path: Path) -> None:
    styles = Styles(str(tmp_path))
    with pytest.raises(KeyError):
        styles.get("mine")
    (tmp_path / "mine.toml").write_text('[fields]\none = "One thing."')
    assert [part.name for part in styles.get("mine").fields] == ["one"]


def test_a_built_in_name_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "brief.toml").write_text(STANDUP)
    styles = Styles(str(tmp_path))
    assert styles.get("brief") is STYLES["brief"]
    assert styles.names() == list(STYLES)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a/b", "secret.toml", "SECRET"])
def test_a_name_is_never_a_path(name: str, tmp_path: Path) -> None:
    (tmp_path / "styles").mkdir()
    (tmp_path / "secret.toml").write_text(STANDUP)
    with pytest.raises(KeyError):
        Styles(str(tmp_path / "styles")).get(name)


def test_a_directory_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert Styles(str(tmp_path / "none")).names() == list(STYLES)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fields = [", r"is no TOML \(.*\): correct it"),
        ("\xff", "is no TOML"),
        ("", r"has no \[fields\]: name at least one"),
        ("fields = 3", r"fields is not a table: write \[fields\]"),
        ("[fields]\none = 3", r"has no text at fields.one: write one in quotes"),
        ("[fields]\none = ''", r"has no text at fields.one"),
        ("[fields]\n'a b' = 'x'", "has a field 'a b': a name is 1 to 40"),
        ("[fields]\none = 'x'\n[labels]\ntwo = 'y'", "has a label for 'two', which is not among"),
        ("colour = 'red'\n[fields]\none = 'x'", "has 'colour': it may have instructions, fields and labels"),
        ("instructions = 3\n[fields]\none = 'x'", "has no text at instructions"),
        ("[fields]\n" + "".join(f"f{at} = 'x'\n" for at in range(FIELDS + 1)), "has 13 fields: leave at most 12"),
        ("#" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_bad_one_is_a_clear_error(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadTemplate, match=complaint) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(BadTemplate, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("language", "label"), [("ko", "소견"), ("ko-KR", "소견"), ("en", "Findings"), ("", "Findings")]
)
def test_labels_follow_the_language_where_they_can(language: str, label: str) -> None:
    assert STYLES["consultation"].label("findings", language) == label
