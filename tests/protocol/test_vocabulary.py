"""Rules for misheard words, from tables: what they change, and the file that they are kept in."""

from __future__ import annotations

import re
import time

import pytest

from convo.messages import Rule
from convo.vocabulary import LONGEST, LONGEST_TEXT, MOST_RULES, Vocabulary, edited, parse, write


def rules(**words: str) -> list[Rule]:
    return [Rule(wrong=wrong.replace("_", " "), right=right) for wrong, right in words.items()]


@pytest.mark.parametrize(
    ("known", "text", "changed"),
    [
        (rules(butcher="budget"), "The butcher, Butcher and butchers.", "The budget, budget and butchers."),
        (rules(pie_torch="PyTorch", pie="pi"), "pie torch or pie", "PyTorch or pi"),
        (rules(pie_torch="PyTorch"), "Pie  TORCH", "PyTorch"),
        (rules(a="b", b="c"), "a b", "b c"),
        (rules(um=""), "Um, the um plan", ", the plan"),
        (rules(um=""), "um", ""),
        (rules(butcher="budget"), "two  spaces stay", "two  spaces stay"),
        ([Rule(wrong="C++", right="see")], "C++ and c++, not C", "see and see, not C"),
        ([Rule(wrong=".*", right="x")], "a .* b", "a x b"),
        ([Rule(wrong="雨", right="雪")], "東京は雨です。", "東京は雪です。"),
        ([Rule(wrong="비", right="눈")], "비가 비", "비가 눈"),
        ([Rule(wrong="x", right=r"\1\g<0>")], "x", r"\1\g<0>"),
        ([Rule(wrong="x", right="a\x1b[2J\nb")], "x", "a[2J b"),
        (rules(X="one", x="two"), "x", "one"),
        ([Rule(wrong=" ", right="x")], "a b", "a b"),
        ([Rule(wrong="\u0130", right="I")], "\u0130 i\u0307", "I i\u0307"),
        ([], "a", "a"),
    ],
)
def test_what_rules_change(known: list[Rule], text: str, changed: str) -> None:
    assert Vocabulary(known).apply(text) == changed


def test_words_to_listen_for() -> None:
    assert Vocabulary(rules(a="Ada", b="Bob", c="Ada", d="")).hotwords == "Ada, Bob"
    assert Vocabulary([]).hotwords == ""


def test_no_rule_makes_a_text_too_long_or_takes_long() -> None:
    long = "a " * (LONGEST_TEXT // 4)
    assert Vocabulary(rules(a="b" * LONGEST)).apply(long) == long
    many = [Rule(wrong="a " * 40 + str(at), right="x") for at in range(MOST_RULES)]
    vocabulary = Vocabulary(many)
    began = time.thread_time()
    vocabulary.apply(long)
    assert time.thread_time() - began < 1.0


def test_the_file_keeps_what_was_written() -> None:
    kept = [
        Rule(wrong="pie torch", right="PyTorch"),
        Rule(wrong='"\\n', right="= [x]"),
        Rule(wrong="雨", right=""),
        Rule(wrong="a\x7fb", right="\u2028"),
    ]
    back = parse(write(kept))
    assert [rule.wrong for rule in back] == ["pie torch", '"\\n', "雨", "ab"]
    assert [rule.right for rule in back] == ["PyTorch", "= [x]", "", ""]
    assert parse("") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[words", "no TOML"),
        ("words = 3", "[words]"),
        ("[words]\na = 3", "[words]"),
        ('[words]\n" " = "x"', "which words are wrong"),
        (f'[words]\na = "{"x" * (LONGEST + 1)}"', "at most 100"),
        ("[words]\n" + "".join(f'w{at} = "x"\n' for at in range(MOST_RULES + 1)), "more than 500"),
        ("a = " + "[" * 100_000, "no TOML"),
    ],
)
def test_a_file_that_is_none(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        parse(text)
    assert "\n" not in str(error.value)


HEAD = "# mine\n\n[words]  # these\n"


@pytest.mark.parametrize(
    ("text", "known", "after"),
    [
        ("", rules(a="b"), write(rules(a="b"))),
        (HEAD, rules(a="b"), HEAD + '"a" = "b"\n'),
        (HEAD + "a = 'b'  # a word", rules(a="b", c="d"), HEAD + 'a = \'b\'  # a word\n"c" = "d"\n'),
        (HEAD + 'a = "b"\n# the end\n', rules(a="x"), HEAD + '"a" = "x"\n# the end\n'),
        (HEAD + 'a = "b"\nc = "d"\n', rules(c="d"), HEAD + 'c = "d"\n'),
        (HEAD + 'a = "b"\n', [], HEAD),
        (
            'top = 1\n[words]\na = "b"\n\n[other]\nc = "d"\n',
            rules(a="b", e="f"),
            'top = 1\n[words]\na = "b"\n"e" = "f"\n\n[other]\nc = "d"\n',
        ),
        ('[words]\r\na = "b"\r\n', rules(a="b", c="d"), '[words]\r\na = "b"\r\n"c" = "d"\r\n'),
        ('words = {a = "b"}\n', rules(c="d"), write(rules(c="d"))),
        ('[words]\n"[x" = "y"\na = """\nb"""\n', [Rule(wrong="[x", right="y")], write([Rule(wrong="[x", right="y")])),
    ],
)
def test_a_file_keeps_what_is_no_changed_rule(text: str, known: list[Rule], after: str) -> None:
    assert edited(text, known) == after
    assert sorted(rule.wrong for rule in parse(after)) == sorted(rule.wrong for rule in known)


def test_a_broken_file_is_not_edited() -> None:
    with pytest.raises(ValueError, match="no TOML"):
        edited("[words", [])
