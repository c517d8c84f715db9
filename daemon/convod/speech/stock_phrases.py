"""Sentences that Whisper models write where nobody speaks: they ended many of the videos the models were trained on.

In: a text. Out: whether it is one of these and nothing more. People do say some of them; whether one was said is for
the hallucination filter to judge, by the voice. (Koenecke et al. 2024, "Careless Whisper"; Baranski et al. 2025,
"Investigation of Whisper ASR hallucinations induced by non-speech audio", which lists the most common.)
"""

from __future__ import annotations

from typing import Final

_PHRASES: Final = """
thank you
thank you very much
thank you so much
thanks
thanks for watching
thanks for watching everyone
thank you for watching
thank you for watching this video
thank you so much for watching
thank you very much for watching
thank you all for watching
thank you for listening
please subscribe
subscribe
please subscribe to my channel
like and subscribe
please like and subscribe
see you next time
see you in the next video
ill see you next time
ill see you in the next video
bye
bye bye
goodbye
you
the end
music
applause
laughter
subtitles by the amara org community
vielen dank
vielen dank fürs zuschauen
danke fürs zuschauen
bis zum nächsten mal
untertitel der amara org community
untertitel im auftrag des zdf für funk 2017
untertitelung des zdf 2020
merci
merci davoir regardé cette vidéo
soustitres réalisés par la communauté damara org
soustitres réalisés para la communauté damara org
soustitrage société radiocanada
gracias
muchas gracias
gracias por ver el video
gracias por ver
suscríbete
suscríbete al canal
subtítulos realizados por la comunidad de amara org
subtítulos por la comunidad de amara org
grazie
grazie per aver guardato il video
sottotitoli creati dalla comunità amara org
obrigado
obrigado por assistir
legendas pela comunidade amara org
спасибо
спасибо за просмотр
спасибо за внимание
продолжение следует
субтитры сделал dimatorzok
субтитры создавал dimatorzok
редактор субтитров асемкин корректор аегорова
ご視聴ありがとうございました
最後までご視聴いただきありがとうございます
ありがとうございました
チャンネル登録お願いします
おやすみなさい
谢谢
谢谢大家
谢谢观看
谢谢收看
感谢观看
字幕由amara org社区提供
请不吝点赞订阅转发打赏支持明镜与点点栏目
감사합니다
시청해주셔서 감사합니다
시청해 주셔서 감사합니다
구독과 좋아요 부탁드립니다
다음 영상에서 만나요
mbc 뉴스 이덕영입니다
"""


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


_KNOWN: Final = frozenset(map(_letters, _PHRASES.split("\n"))) - {""}


def is_stock_phrase(text: str) -> bool:
    """Whether a text is such a phrase, said once or several times in a row."""
    letters = _letters(text)
    if not letters:
        return False
    return letters in _KNOWN or any(
        len(letters) % len(phrase) == 0 and letters == phrase * (len(letters) // len(phrase)) for phrase in _KNOWN
    )
