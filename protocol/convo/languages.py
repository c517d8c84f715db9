"""The languages that Whisper knows: their codes, and their names as OpenAI's API writes them.

In: a code, or codes as a person writes them. Out: a name in English, or a list of codes.
"""

from __future__ import annotations

import re

_NAMES = dict(
    (pair.split()[0], pair.split()[1].replace("_", " "))
    for pair in """
    en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese,
    tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi,
    fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish,
    hu hungarian, ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin,
    mi maori, ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian,
    az azerbaijani, sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic,
    hy armenian, ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi,
    pa punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian,
    be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese,
    ht haitian_creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar,
    bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir,
    jw javanese, su sundanese, yue cantonese
    """.split(",")  # noqa: SIM905  # two hundred words, to be read as text
)


CODES = tuple(_NAMES)
"""The codes of all of them."""


def name_of(code: str) -> str:
    """Return the name of a language, or the code where there is none."""
    return _NAMES.get(code, code)


def codes_in(text: str) -> list[str]:
    """Return each code of a text such as "de, ko" once.

    Raises:
        ValueError: one of them is not known; the text is a sentence that says what to do.
    """
    codes = list(dict.fromkeys(re.findall(r"[^\s,]+", text.lower())))
    for code in codes:
        if code not in _NAMES:
            raise ValueError(f"{code!r} is not a language that Whisper knows: give codes such as de,ko,en.")
    return codes
