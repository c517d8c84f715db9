"""Classify sentences by typical words, in English and Korean.

In: a sentence. Out: whether it states a decision, an open question, a part of a consultation, or nothing that lasts.
Cues are patterns: they miss other wordings and mistake some talk for what it is not. It never looks beyond the
sentence.
"""

from __future__ import annotations

import re
from typing import Final

_DECISION: Final = re.compile(
    r"\b(?i:(?:we|they|everyone|everybody|the (?:team|board|committee|group)) (?:have |has |had |all )*"
    r"(?:decided|agreed|chose|voted|settled|resolved|approved|concluded|rejected)|"
    r"(?:it|that) (?:was|is|has been) (?:decided|agreed|approved|settled|rejected)|"
    r"(?:the|our) decision (?:is|was)|decision:|let's go (?:with|for)|we(?:'re| are) going with)\b"
)
_DECISION_KOREAN: Final = re.compile(
    r"(?:기로\s?(?:했|하였|합의|결정|하죠|합시다)|결정(?:했|됐|되었|하였|입니다)|합의(?:했|됐|되었)|확정(?:했|됐|되었|입니다)|승인(?:했|됐|되었))"
)
_OPEN: Final = re.compile(
    r"\b(?i:open (?:question|issue|point)|still (?:open|unclear|undecided|unresolved)|"
    r"not (?:yet )?(?:decided|clear|sure|settled)|"
    r"(?:do not|don't) know yet|to be (?:decided|determined|discussed|clarified)|remains (?:open|unclear|to be)|"
    r"(?:need|have) to (?:find out|figure out|clarify)|question is (?:still |whether )|TBD)\b"
)
_OPEN_KOREAN: Final = re.compile(
    r"(?:미정|미결|아직\s?(?:결정|정해|확정|모르|불분명)|추후\s?(?:결정|논의|협의)|(?:논의|확인|검토)가\s?(?:더\s?)?필요)"
)

_CALL: Final = re.compile(
    r"\b(?i:repeat (?:that|it)|hear (?:me|you)|see my screen|say that again|"
    r"speak (?:a little |a bit )?(?:up|louder|slower)|"
    r"share (?:my|your) screen|on mute|mute (?:me|you)\w*|wait a (?:moment|second|minute)|hold on(?! to\b)|"
    r"any(?:thing|one|body) else|give (?:us|me) (?:an?|the) (?:\w+ )?(?:update|overview|summary)|"
    r"thank you (?:all|everyone|very much)|have a (?:nice|great|good|lovely) \w+|bye)\b|"
    r"(?i:\b(?:see you|move on|get(?:ting)? started|sounds? good)\b(?: \w+){0,3}\W*$)|"
    r"^(?i:good (?:morning|afternoon|evening)(?: \w+)?\W*$)"
)
_CALL_KOREAN: Final = re.compile(
    "(?:한번|잠깐)\\s?(?:볼게요|보겠습니다|봅시다)|들리(?:시나요|세요|나요|십니까)|들립니다|들려요|화면.{0,6}(?:보이|공유)|^안녕하(?:세요|십니까)\\W*(?:여러분)?\\W*$|반갑습니다|"
    "수고(?:하셨|많으셨|하세요)|^(?:이제 |바로 )?시작하(?:겠|죠|시죠|도록)|넘어가(?:겠|죠|도록|시죠)|"
    "(?:회의|발표|미팅|수업|강의)[를을]?\\s?(?:시작|마무리)하|(?:회의|발표|여기서|이만|이상으로).{0,6}마치(?:겠|도록)|"
    "(?:다른|또)\\s?(?:안건|의견|질문|하실\\s?말씀).{0,3}\\s?(?:있으|없으)|들어\\s?주[세셔]|다시\\s?말씀해\\s?주|"
    "(?:상황|현황|내용|의견)[을를]?\\s?(?:공유|설명|말씀|발표|보고)해\\s?주(?:세요|시겠|십시오|시죠)"
)

_LEANING: Final = re.compile(
    r"^(?i:this|that|it|these|those|he|she|they)(?:['’]\w+| (?:is|was|are|were|will|would|can|has|had|means?)\b)|"
    "^(?:이것|그것|이게|그게|이건|그건|그거|이거)"
)

_CONSULTATION: Final = {
    "complaint": re.compile(
        r"(?i:\b(?:hurts?|hurting|pains?|ache[sd]?|aching|\w+aches?|sore|cough(?:ing)?|fever|dizz\w+|nause\w+|vomit\w*|"
        r"itch\w*|tired|swollen|swelling|bleed\w*|can't sleep|trouble (?:sleeping|breathing)|"
        r"I(?:'ve| have) (?:been|had)|"
        r"since (?:yesterday|last|mon|tues|wednes|thurs|fri|satur|sun)\w*|I feel|symptoms?)\b)|"
        r"아프|아파|통증|두통|복통|기침|열이|어지|메스꺼|구토|가려|피곤|붓|부었|증상"
    ),
    "findings": re.compile(
        r"(?i:\b(?:blood pressure|temperature|pulse|heart rate|oxygen|x-?ray|scan|mri|blood test|lab|results?|"
        r"examin\w+|"
        r"I (?:can )?(?:see|hear|feel) (?:a|an|some|no)\b|lungs? (?:are|sounds?)|shows?|"
        r"looks? (?:like|normal|inflamed|infected)|"
        r"diagnos\w+|normal|inflamed|infect\w+)\b)|혈압|체온|맥박|검사|엑스레이|소견|진단|정상|염증|감염"
    ),
    "recommendation": re.compile(
        r"(?i:\b(?:I(?:'d| would)? (?:recommend|suggest|advise|prescribe)|"
        r"I(?:'ll| will| am going to) (?:prescribe|refer|order|give you)|you (?:should|need to|must|can take|have to)|"
        r"take (?:this|these|one|two|it|the|a|an)\b|"
        r"tablets?|prescri\w+|twice a day|times a day|come back|follow[- ]up|avoid|rest|drink (?:plenty|a lot|more)|"
        r"milligrams?)\b)|처방|복용|드시|드세요|쉬세요|오세요|피하|권(?:합|해|장)|하루\s?(?:한|두|세)\s?번"
    ),
}
"""By field of the style `consultation`; what a doctor advises is looked for first, what a patient complains of last."""


def is_decision(sentence: str) -> bool:
    """Whether it states a decision."""
    return bool(_DECISION.search(sentence) or _DECISION_KOREAN.search(sentence))


def is_open(sentence: str) -> bool:
    """Whether it states what was left open."""
    return bool(_OPEN.search(sentence) or _OPEN_KOREAN.search(sentence))


def is_about_the_call(sentence: str) -> bool:
    """Whether it only keeps the conversation going: a greeting, "can you hear me"."""
    return bool(_CALL.search(sentence) or _CALL_KOREAN.search(sentence))


def leans_on_another(sentence: str) -> bool:
    """Whether it begins with a reference to the sentence before it and says little alone: "this is called …"."""
    return bool(_LEANING.search(sentence))


def consultation_field(sentence: str) -> str:
    """Return the field of a consultation that it belongs to, "" for none."""
    if sentence.rstrip().endswith(("?", "？")):
        return ""
    return next((name for name in reversed(_CONSULTATION) if _CONSULTATION[name].search(sentence)), "")
