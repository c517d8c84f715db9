"""Function words and common words of meetings, to leave out of keywords.

Function words of other languages are recognised because they are short or in every fifth sentence.
"""

from __future__ import annotations

from typing import Final


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


FUNCTION_WORDS: Final = _words(
    # English
    "a about after again all also am an and any are as at back be because been before being both but by",
    "can cannot could did do does doing done down each else even ever every few for from get gets getting",
    "go goes going gone good got had has have having he her here hers him his how i if in into is it its",
    "just keep know last less let like little long look lot make makes many may maybe me mean might mine",
    "more most much must my need needs never new next no nor not nothing now of off oh ok okay old on",
    "once one only or other our ours out over own please put quite really right said same say says see",
    "shall she should since so some something soon sorry still such sure take takes than thank thanks",
    "that the their them then there these they thing things think this those three time to today together",
    "tomorrow too two uh um under until up us use very want wants was way we well went were what when",
    "where whether which while who whom why will with without would yeah yes yesterday yet you your yours",
    "hello goodbye bye everyone everybody first second third item point sense start started morning",
    "afternoon i'm i'll i've i'd it's that's let's don't doesn't didn't can't won't isn't aren't wasn't",
    "we'll we're we've you're you'll you've he's she's they're they'll there's what's here's who's how's",
    "couldn't wouldn't shouldn't haven't hasn't hadn't gonna wanna",
    "wait waiting told tell tells ask asks asking happen happens happened twice already around mostly honestly alright",
    "nice great fine anything none kind sort",
    "day days week weeks month months year years hour hours minute minutes decided asked",
    # German
    "aber alle als also am an auch auf aus bei bin bis bitte da dann das dass dem den der des die dir",
    "doch du durch ein eine einem einen einer er es etwas euch für ganz gibt hab habe haben hat hier ich",
    "ihm ihn ihr im in ist ja jetzt kann kein können machen man mehr mein mir mit muss müssen nach nein",
    "nicht noch nur oder ob schon sehr sein sich sie sind so soll über um und uns vom von vor war was",
    "weil wenn werden wie wieder wir wird wo zu zum zur",
    # French
    "ai alors au aussi aux avec avez avoir avons bien c'est ça ce ces cette comme dans de des donc du",
    "elle elles en est et être eu fait faire il ils j'ai je la le les leur lui mais me même mes moi mon",
    "ne nos notre nous on ont ou où par pas peu peut plus pour qu'il qu'on que qui sa sans se ses si son",
    "sont sur ta te tes toi ton tous tout très tu un une va vers vos votre vous y",
    # Spanish, Portuguese, Italian
    "al ao aos así che chi con como cosa cuando da dal das de del della di do dos e è ed el ela ele ella",
    "ellos em era es esa ese eso esta está este esto eu foi gli ha hay ho il io isso la las le les lo los",
    "ma mais mas mi mucho muito muy na nas não ni no nos o os para pela pelo per perché pero poi por",
    "porque puede que quem questo qui sa se sem ser si sí sim sin sobre solo sono son su sua sul também",
    "también te tem tiene todo tu um uma un una uno vamos voy y ya yo",
    # Dutch
    "aan bij dan dat de deze die dit een en er ge heb hebben heeft het hij hoe ik is je kan maar me meer",
    "met mijn moet naar niet nog nu of om omdat onze ook op over te toch tot uit van veel voor waar wat",
    "we wel wij worden zal ze zijn zo",
)

KOREAN_FUNCTION_WORDS: Final = _words(
    "그리고 그러나 하지만 그래서 그런데 그럼 이제 지금 오늘 내일 어제 우리 저희 제가",
    "저는 네가 이것 그것 저것 여기 거기 저기 정말 아주 매우 너무 많이 조금 다시 모두",
    "함께 같이 있습니다 없습니다 합니다 됩니다 입니다 했습니다 됐습니다 있어요 없어요 해요",
    "돼요 하겠습니다 할게요 주세요 부탁드립니다 감사합니다 안녕하세요 알겠습니다 그렇습니다",
    "맞습니다 것 수 때 등 및 더 잘 안 못 네 예 아니요 아니 이번 다음 지난 대해 대한",
    "위해 통해 때문 경우 정도 생각 말씀 먼저 해야 하는 있는 없는 되는 했던 이런 그런",
    "어떻게 얼마나 언제 누가 무엇 왜 어디 아직 약 직접 그건 이건 그때 그때는 그러면 대체로 대부분",
    "두 세 한 제 저 걸 게 건",
    "좋습니다 괜찮습니다 괜찮지만 좋아요 맞아요 그래요 그렇죠 있으신가요 다른 그게 이게 거 꽤 음 어 자 예",
    "저런 어떤 무슨 하고 해서 하면 까지 부터 월요일 화요일 수요일 목요일 금요일 토요일",
    "일요일",
)

HAN_FUNCTION_WORDS: Final = _words(
    # Chinese
    "今天 明天 昨天 现在 大家 大家好 谢谢 然后 因为 所以 但是 如果 需要 就是 一个 一些 一下 时候 知道 觉得 好的",
    "之前 之后 今年 明年 去年 本周 下周 上周 這個 時候 現在 謝謝",
    # Japanese
    "今日 明日 昨日 今週 来週 先週 今回 次回 今年 来年 去年 自分 皆様 場合 以上 以下 本当 確認",
)

WEEKDAYS: Final = _words("monday tuesday wednesday thursday friday saturday sunday")

CHINESE_FUNCTION_CHARACTERS: Final = frozenset(
    "的了是我你他她它们們在不這这那就也都吗嗎吧呢啊很把被让讓与與什么麼着著还還"
)
"""Characters that hardly stand inside a word that is a subject ("会" would, in "会议")."""
