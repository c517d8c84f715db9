from __future__ import annotations

import pytest

from convod.speech.sentences import ends_sentence


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("We ship on Friday.", True),
        ("We ship on Friday. \n", True),
        ("Do we?", True),
        ("We do!", True),
        ("We ship on", False),
        ("We ship on Friday,", False),
        ("We ship: now;", False),
        ("", False),
        (" ", False),
        ("'", False),
        (".", True),
        # Trailing off is no end.
        ("And then...", False),
        ("And then…", False),
        ("And then..", False),
        ('"And then..."', False),
        # Nor is an abbreviation in mid-sentence.
        ("We asked Dr.", False),
        ("We asked dr.", False),
        ("He met Mrs.", False),
        ("one vs.", False),
        ("and so on, etc.", False),
        ("He is a doctor.", True),
        ("It is no. 5.", True),
        ("Is it Mr?", True),
        # What closes behind the end belongs to it.
        ('She said: "We ship."', True),
        ("(We ship.)", True),
        ("“We ship.”", True),
        ("« On y va. »", True),
        ("(We ship)", False),
        # Other scripts.
        ("今日は会議があります。", True),
        ("「はい。」", True),
        ("会议开始了！", True),
        ("会议开始了吗？", True),
        ("会议开始了，", False),
        ("今日は会議があります", False),
        ("هل تسمعني؟", True),
        ("मैं ठीक हूँ।", True),
        ("회의가 있습니다.", True),
    ],
)
def test_a_sentence_ends_with_its_mark_but_for_abbreviations_and_what_trails_off(text, ends):
    assert ends_sentence(text) is ends
