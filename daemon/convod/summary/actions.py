"""Find action items by the words that announce them, in English and Korean.

In: a sentence. Out: an action item, or None. Cues are patterns: they miss promises in other words and
mistake some talk for a promise. A language model does better; this needs none. It never looks beyond the sentence.
"""

from __future__ import annotations

import re
from typing import Final

from convo.messages import ActionItem
from convod.summary.cues import is_about_the_call, is_decision
from convod.summary.stopwords import WEEKDAYS
from convod.summary.text import line

TEXT_CHARS: Final = 400
"""Longest sentence that is matched as a whole. The patterns' time grows with the square of the length, so an endless
sentence would take minutes; 400 characters take a millisecond."""

_DAY: Final = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH: Final = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|"
    r"jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?"
)
_NUMBER: Final = r"(?:\d{1,3}|an?|two|three|four|five|six|seven|eight|nine|ten)"
_DUE_ENGLISH: Final = re.compile(
    rf"""\b(?:(?P<lead>by|before|until|till|no\ later\ than|on|at|in|within)\s+)?(?P<when>
      (?:the\s+)?end\s+of\s+(?:the\s+|this\s+|next\s+)?(?:day|week|month|quarter|year|{_MONTH}|{_DAY})
    | (?:(?:next|this|the\s+coming)\s+)?{_DAY}(?:\s+(?:morning|afternoon|evening|at\s+noon))?
    | (?:next|this)\s+(?:week|month|quarter|year|sprint|meeting)
    | {_MONTH}\s+(?:the\s+)?\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?
    | (?:the\s+)?\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:\s+\d{{4}})?
    | the\s+\d{{1,2}}(?:st|nd|rd|th)
    | \d{{4}}-\d{{2}}-\d{{2}} | \d{{1,2}}/\d{{1,2}}(?:/\d{{2,4}})?
    | (?:today|tonight|tomorrow|the\ day\ after\ tomorrow)(?:\s+(?:morning|afternoon|evening|night))?
    | {_NUMBER}\s+(?:minutes?|hours?|days?|weeks?|months?)
    | (?:noon|midnight|lunch|dinner|{_NUMBER}\s*(?:o'clock|[ap]\.?m\b\.?)|\d{{1,2}}:\d{{2}}(?:\s*[ap]\.?m\b\.?)?)
    )(?![\w])""",
    re.IGNORECASE | re.VERBOSE,
)
# What names a span or an hour is a date only after one of these: "a test of two days" is none.
_NEEDS_LEAD: Final = re.compile(
    rf"(?:{_NUMBER}\s+(?:minute|hour|day|week|month)|{_NUMBER}\s*(?:o'clock|[ap]\.?m)|\d{{1,2}}:|noon|midnight|lunch|dinner)",
    re.IGNORECASE,
)

_NAME: Final = r"(?:(?:Mr|Mrs|Ms|Dr|Prof)\.?\s+)?[A-ZÀ-Þ][\w’'-]+(?:\s+[A-ZÀ-Þ][\w’'-]+)?"
_GROUP: Final = (
    r"(?i:the|our|your)\s+(?:[\w-]+\s+){0,2}(?i:team|group|department|committee|office|vendor|client|customer)"
)
_WHO: Final = (
    rf"(?P<who>{_NAME}|{_GROUP}|(?i:marketing|engineering|sales|finance|legal|support|design|everyone|everybody))"
)
_DUTY: Final = (
    r"(?i:will|'ll|’ll|needs?\s+to|has\s+to|have\s+to|had\s+better|must|should|ought\s+to|"
    r"(?:is|are)\s+(?:going|supposed)\s+to|agreed\s+to|promised\s+to|volunteered\s+to|offered\s+to)"
)
_ADVERB: Final = r"(?:(?i:also|then|now|please|still|just|first|definitely|probably|really)\s+)*+"
# Possessive: given back piece by piece, a row of "and, and, and" would be tried in every way there is.
_OPENING: Final = r"^\W*+(?:(?i:and|so|then|okay|ok|well|also|now)\b[\s,]*+)*+"
# "It will rain" and "that will be fine" promise nothing.
_IDLE: Final = r"(?!(?i:be|have|see|know|think|like|want|not|never|depend|seem|happen|mean)\b)"
_OWNED: Final = re.compile(rf"{_OPENING}{_WHO}\s*{_DUTY}\s+{_ADVERB}{_IDLE}(?=\w)")
_ASSIGNED: Final = re.compile(
    rf"\b(?i:action\s+items?|task|to-?do|homework|next\s+step)s?\s+(?i:for|of)\s+{_WHO}\s*(?:(?i:is|are)\s+(?i:to\s+)?|:\s*)"
)
_CALLED: Final = re.compile(
    rf"^{_WHO}\s*,\s*(?i:please|(?:can|could|will|would)\s+you|you\s+(?:need|have)\s+to|I\s+need\s+you\s+to)\s+{_ADVERB}(?=\w)"
)
_CALLED_LAST: Final = re.compile(
    r"^(?i:please|can\s+you|could\s+you|would\s+you|will\s+you)\b.*,\s*(?P<who>" + _NAME + r")\s*[?.!]*$"
)
_SELF: Final = re.compile(
    rf"\b(?:(?P<one>(?i:I))|(?i:we))(?:\s+|(?=['’]))(?i:will|['’]ll|need\s+to|have\s+to|must|should|(?:am|are|['’]m|['’]re)\s+going\s+to|"
    rf"(?:plan|promised?)\s+to)\s+{_ADVERB}{_IDLE}(?=\w)"
)
_ASKED: Final = re.compile(
    rf"{_OPENING}(?:(?i:for|by|until|before)\s[^,.]{{1,40}},\s*)?(?i:please|(?:can|could|would)\s+(?:you|someone|somebody|anyone)(?:\s+please)?)\s+(?=\w)"
)
_MARKED: Final = re.compile(r"^(?i:action\s+item|to-?do|next\s+step)s?\s*:\s*(?=\w)")
# Promised by "I will have a draft", if it is said by when.
_HANDED_IN: Final = re.compile(
    r"\b(?:(?P<one>(?i:I))|(?i:we))(?:['’]ll|\s+will)\s+(?i:have)\s+(?i:an?|the|it|that|this|my|our)\b"
)
# What to do was said by someone else, before.
_SAME: Final = re.compile(r"(?i:\bdo\s+(?:that|it|this|so))\W*$")
# Capitalised because they begin a sentence, not because they are names.
_NO_NAMES: Final = WEEKDAYS | {
    *("it", "this", "that", "these", "those", "there", "he", "she", "they", "you", "we", "i", "who", "what"),
    *("which", "how", "when", "where", "why", "if", "so", "and", "but", "or", "then", "everything", "something"),
    *("nothing", "anything", "one", "two", "three", "someone", "somebody", "anyone", "nobody", "please", "maybe"),
    *("perhaps", "today", "tomorrow", "yes", "no", "not", "their", "his", "her", "its", "my", "a", "an", "some"),
    *("any", "all", "both", "each", "every", "most", "many", "next", "first", "second", "third", "last"),
}

_DUE_KOREAN: Final = re.compile(
    r"(?:(?:이번|다음|지난)\s*(?:주|달|분기|회의|학기)(?:\s*[월화수목금토일]요일)?|[월화수목금토일]요일|"
    r"\d{1,2}\s*월\s*\d{1,2}\s*일|\d{1,2}\s*월\s*말|\d{1,2}\s*일|내일\s*모레|내일|모레|오늘|금주|차주|월말|연말|주말|이달\s*말|"
    r"\d{1,3}\s*(?:일|주|시간|개월)\s*(?:안|이내|내|후)|(?:오전|오후)(?=\s*\d))"
    r"(?:\s*(?:오전|오후|아침|저녁|밤))?(?:\s*\d{1,2}\s*시(?:\s*\d{1,2}\s*분|\s*반)?)?(?:\s*(?:까지|안에|전까지|이전))?"
)
_TITLE: Final = (
    "(?:씨|님|군|양|대리|과장|차장|부장|팀장|실장|본부장|대표|이사|사원|"
    "주임|책임|선임|연구원|매니저|선생|교수|박사|원장|간호사)님?"
)
_OPENING_KOREAN: Final = "(?:그리고|그럼|그러면|그래서|네|자|일단|우선)"
_WHO_KOREAN: Final = re.compile(
    rf"^(?:{_OPENING_KOREAN}[\s,]++)*+"
    rf"(?P<who>[가-힣]{{1,4}}\s?{_TITLE}|[가-힣]{{1,6}}\s?팀|[김박최]\w{{2}}(?=[이가은는]\s))"
    r"(?:께서는|께서|에서|이|가|은|는|,)\s*"
)
_NO_KOREAN_NAMES: Final = re.compile("^(?:최[종근대소초상고신]|박[람스수]|김[치밥장])")
_CUE_KOREAN: Final = re.compile(
    "(?:[가-힣]야\\s?(?:합니다|해요|돼요|됩니다|할\\s|하고|한다|겠)|하겠습니다|[가-힣]겠습니다|할게요|[갈낼을줄볼릴둘올릴]게요|드릴게요|드리겠습니다|"
    "(?:해|어|아|려|내|와|봐|켜|꿔|춰)\\s?(?:주세요|주십시오|주시기|주시면|주실)|부탁드립니다|부탁드려요|부탁해요|바랍니다|"
    "[가-힣][어아해와려겨]\\s?오(?:세요|십시오|시기)|(?:할|갈|낼|을|릴)\\s?(?:예정|계획)(?:입니다|이에요|이다)|하기로\\s?(?:했|하|결정)|[가-힣]기로\\s?(?:했|하|결정))"
)
# Set phrases with a form that announces something.
_IDLE_KOREAN: Final = re.compile(
    "(?:알겠|모르겠|감사하겠|좋겠|되겠|있겠|같겠|소개하겠|말씀드리겠)습니다|"
    "^(?:오늘은|먼저|이제|다음은|이번에는)(?!.*까지).*(?:이야기|얘기|논의|설명|발표|살펴보)(?:하|드리)?겠습니다"
)
# It must be done: by whom, or until when?
_DUTY_KOREAN: Final = re.compile("야\\s?(?:합니다|해요|돼요|됩니다|할\\s|하고|한다|겠)")
_SELF_KOREAN: Final = re.compile(r"(?:^|\s)(?:(?P<one>제가|저는)|저희가|우리가|저희는|우리는)\s")
# These endings are the speaker's own promise, though the sentence leaves the speaker out.
_PROMISE_KOREAN: Final = re.compile("(?:겠습니다|[가-힣]게요)\\W*$")


def action_item(sentence: str, speaker: str | None = None) -> ActionItem | None:
    """Return the action that a sentence announces, with its owner and date if it names them.

    `speaker`: who says it; the owner of what they promise to do themselves.
    """
    sentence = line(sentence, TEXT_CHARS)
    found = _korean(sentence, speaker) if re.search("[가-힣]", sentence) else _english(sentence, speaker)
    # "Give us an update" is over when it is said; "by Friday" it is not.
    return None if found is not None and found.due is None and is_about_the_call(sentence) else found


def _english(sentence: str, speaker: str | None) -> ActionItem | None:
    for pattern in (_ASSIGNED, _CALLED, _CALLED_LAST, _OWNED):
        found = pattern.search(sentence)
        if found:
            owner = _owner(found["who"])
            if owner is None and pattern is _OWNED:
                break
            return _item(sentence, owner, _due_english(sentence))
    question = sentence.rstrip().endswith("?")
    if _SAME.search(sentence):
        return None
    due = _due_english(sentence)
    handed_in, promised = _HANDED_IN.search(sentence), None if question else _SELF.search(sentence)
    if handed_in and due and not question:
        return _item(sentence, speaker if handed_in["one"] else None, due)
    if promised:
        return _item(sentence, speaker if promised["one"] else None, due)
    return _item(sentence, None, due) if _MARKED.search(sentence) or _ASKED.search(sentence) else None


def _owner(who: str) -> str | None:
    first = re.split(r"[\s’']", who)[0].lower()
    return None if first in _NO_NAMES else re.sub("^(?i:the|our|your) ", "", who)


def _due_english(sentence: str) -> str | None:
    for found in _DUE_ENGLISH.finditer(sentence):
        lead = (found["lead"] or "").lower()
        if _NEEDS_LEAD.match(found["when"]) and not lead:
            continue
        return f"{lead} {found['when']}" if lead in {"before", "in", "within", "until", "till"} else found["when"]
    return None


def _korean(sentence: str, speaker: str | None) -> ActionItem | None:
    if not _CUE_KOREAN.search(sentence) or _IDLE_KOREAN.search(sentence):
        return None
    who = _WHO_KOREAN.search(sentence)
    owner = who["who"] if who and not _NO_KOREAN_NAMES.match(who["who"]) else None
    if owner is None and is_decision(sentence):
        return None  # a joint decision is not one person's task
    due, themselves = _DUE_KOREAN.search(sentence), _SELF_KOREAN.search(sentence)
    if owner is None and due is None and _DUTY_KOREAN.search(sentence) and not themselves:
        return None
    if owner is None and (themselves["one"] if themselves else _PROMISE_KOREAN.search(sentence)):
        owner = speaker
    return _item(sentence, owner, due[0].removesuffix("까지").strip() if due else None)


def _item(sentence: str, owner: str | None, due: str | None) -> ActionItem:
    return ActionItem(text=sentence, owner=owner, due=due)
