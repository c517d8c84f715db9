"""What models say of noise, in eight languages and more; and what only resembles it."""

from __future__ import annotations

import pytest

from convod.speech.stock_phrases import is_stock_phrase

PHRASES = [
    "Thank you.",
    "Thanks for watching!",
    "I'll see you in the next video.",
    "Subtitles by the Amara.org community",
    "Vielen Dank fürs Zuschauen!",
    "Untertitel im Auftrag des ZDF für funk, 2017",
    "Merci d'avoir regardé cette vidéo !",
    "Sous-titrage Société Radio-Canada",
    "¡Gracias por ver el vídeo!".replace("í", "i"),
    "Subtítulos realizados por la comunidad de Amara.org",
    "Grazie per aver guardato il video.",
    "Obrigado por assistir!",
    "Спасибо за просмотр!",
    "Субтитры сделал DimaTorzok",
    "ご視聴ありがとうございました",
    "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    "시청해주셔서 감사합니다.",
    "MBC 뉴스 이덕영입니다.",
]


@pytest.mark.parametrize("text", PHRASES)
def test_what_models_say_of_noise_is_known_however_it_is_written_and_however_often(text):
    for other in (text, text.upper(), f"  {text}\n", f"“{text}”", " ".join([text] * 2), text * 5):
        assert is_stock_phrase(other), other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "Thank",
        "Thank you for the report.",
        "We thank you.",
        "Thank you. We ship on Friday.",
        "Bye, Grace.",
        "The end of the year",
        "Danke, das war alles.",
        "Gracias por el informe.",
        "ありがとうございましたら",
        "谢谢你",
        "you and you",
    ],
)
def test_what_only_resembles_it_is_somebodys_own(text):
    assert not is_stock_phrase(text)
