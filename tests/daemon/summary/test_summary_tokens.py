"""What a text costs: upper values for any vocabulary, and what is learned of one that is large."""

from __future__ import annotations

import random

import pytest

from convod.summary.base import ChatMessage
from convod.summary.tokens import LEAST, LEAST_OTHER, UPPER, Gauge
from tests.fakes.talks import KOREAN, MEETING

RULES = "You summarise transcripts of spoken conversation and add nothing of your own. " * 20
TALK = "\n".join(KOREAN * 20)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # Counted with a vocabulary of 32,000 entries, which needs most: see scripts/bench/tokens.
        ("The quick brown fox jumps over the lazy dog and goes home.", 15),
        ("오늘 회의의 주제는 신제품 출시 일정입니다.", 27),
        ("今天我们讨论语音识别项目的预算。", 19),
        ("會議討論了本季度的銷售業績以及明年的業務規劃", 33),
        ("今日の会議では四半期の売上実績を確認しました。", 30),
        ("сегодня мы обсуждаем бюджет", 15),
        ("วันนี้เราประชุมเกี่ยวกับผลประกอบการ", 36),
        ("ناقشنا اليوم نتائج المبيعات", 24),
        ("2025-01-31 12:00", 17),
        ("", 0),
    ],
)
def test_the_estimate_holds_for_any_script(text: str, tokens: int) -> None:
    assert tokens <= UPPER.tokens(text) <= 1.5 * tokens + 10


def test_an_estimate_never_shrinks_when_text_is_added() -> None:
    rng = random.Random(5)
    text = ""
    before = 0
    for _ in range(300):
        text += rng.choice("ab 1.,é한中😀\n\x00")
        assert UPPER.tokens(text) >= before
        before = UPPER.tokens(text)


def asked(data: str, rules: str = RULES) -> list[ChatMessage]:
    return [{"role": "system", "content": rules}, {"role": "user", "content": data}]


def read_by(share: float, data: str) -> int:
    """Tokens of a prompt by a vocabulary that needs so much of the upper value for Korean, and 0.75 for English."""
    return int(0.75 * UPPER.tokens(RULES) + share * UPPER.tokens(data))


@pytest.mark.parametrize("share", [0.3, 0.45, 0.7, 0.95])
def test_a_gauge_learns_what_a_vocabulary_needs_and_stays_above_it(share: float) -> None:
    gauge = Gauge()
    gauge.learn(asked(TALK), read_by(share, TALK))
    upper = UPPER.tokens(TALK)
    assert share * upper < gauge.tokens(TALK) < min(1.0, share + 0.25) * upper + 2
    # It knows nothing of other scripts.
    for other in (
        "2025-01-31" * 9,
        "".join(MEETING).replace(".", "").replace("?", "").replace(",", ""),
        "今天我们讨论语音识别项目的预算",
    ):
        assert gauge.tokens(other) == UPPER.tokens(other)


def test_a_longer_prompt_tells_more_than_a_short_one_and_of_equals_the_worse_counts() -> None:
    gauge = Gauge()
    short = TALK[:600]
    gauge.learn(asked(short), read_by(0.45, short))
    roughly = gauge.tokens(TALK)
    gauge.learn(asked(TALK), read_by(0.45, TALK))
    closely = gauge.tokens(TALK)
    assert closely < roughly
    gauge.learn(asked(TALK[:-500]), read_by(0.6, TALK[:-500]))
    assert gauge.tokens(TALK) > closely
    gauge.learn(asked(TALK), read_by(0.45, TALK))
    assert gauge.tokens(TALK) > closely


@pytest.mark.parametrize("count", [0, 1, 40, 300, 10**9])
def test_a_count_that_cannot_be_teaches_nothing_below_what_is_safe(count: int) -> None:
    gauge = Gauge()
    gauge.learn(asked(TALK), count)
    assert gauge.tokens(TALK) == UPPER.tokens(TALK)
    gauge.learn(asked("x" * 20_000), count)
    assert LEAST["latin"] * UPPER.tokens("x" * 20_000) - 1 <= gauge.tokens("x" * 20_000) <= UPPER.tokens("x" * 20_000)


def test_little_text_tells_nothing() -> None:
    gauge = Gauge()
    gauge.learn(asked("안녕하세요.", ""), 4)
    gauge.learn([], 0)
    assert gauge.version == 0


def test_what_was_learned_is_forgotten_for_good_when_it_does_not_hold() -> None:
    gauge = Gauge()
    assert not gauge.distrust()
    gauge.learn(asked(TALK), read_by(0.45, TALK))
    assert gauge.distrust()
    assert gauge.tokens(TALK) == UPPER.tokens(TALK)
    gauge.learn(asked(TALK), read_by(0.45, TALK))
    assert gauge.tokens(TALK) == UPPER.tokens(TALK)
    assert not gauge.distrust()


def test_no_share_is_below_the_least() -> None:
    """Numbers that grow smaller and smaller, as from a server that counts what is new to its cache only."""
    gauge = Gauge()
    for count in range(read_by(1.0, TALK), 0, -100):
        gauge.learn(asked(TALK), count)
        assert gauge.tokens(TALK) >= LEAST_OTHER * UPPER.tokens(TALK)
