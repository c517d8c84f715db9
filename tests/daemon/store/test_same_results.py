"""The same talks in SQLite and in PostgreSQL: a query finds the same texts in the same order, marked alike."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio

from convo.messages import ActionItem, CreateSession, FinalSummary, State, TranscriptSegment
from convod.store import Record, SessionStore, database_at
from convod.store.tsvector import LONGEST

TALKS = {
    "English": [
        "We ship the release on Friday, and the budget is twelve thousand pounds.",
        "The release notes are ready.", "Notes of the release, and more notes.", "Releases and notes.",
        "Send it to ann.lee@example.com or see https://example.com/a-b_c?q=1 for v1.2.3-rc1.",
        "It's a state-of-the-art re-entry, isn't it?", "He said 'quoted' and \"doubled\" \\ back\\slash.",
        "1e5 is 100,000.00 or -3; 0x1F & 50% | (maybe) ! <-> a:*b", "AT&T's e-mail: I/O, C++ and C#.",
        "the the the the budget", "A", "an ox and an axe", "Ünïcödé naïve café résumé", "na\u0308ive cafe\u0301",
    ],
    "German": [
        "Grüße aus Köln, die Straße ist gesperrt.", "Der Übergabetermin für die Lieferung ist Mittwoch.",
        "Die Lieferungen kommen übermorgen.", "STRASSE und Strasse und Straße", "ÄÖÜ äöü ßẞ",
        "Wir müssen das Budget prüfen.",
    ],
    "Korean": [
        "오늘 회의는 두 시에 시작합니다.", "예산을 검토하고 회의록을 보내 주세요.", "회의",
        "예산 회의는 금요일입니다.",
        "가나다라 마바사 아자차카", "한국어와 English를 섞어 씁니다.",
    ],
    "Japanese": [
        "今日は会議です。", "東京は雨です。会議は明日の午後三時からです。", "予算を確認してください。", "会議中",
        "カタカナと、ひらがな",
        "ｶﾀｶﾅ と カタカナ", "リリースはGoogleの会議室Aで。", "議会と会議", "会議会議会議", "ガギグ が か\u3099",
    ],
    "other": [
        "ราคาสินค้าวันนี้", "İstanbul ıstanbul ISTANBUL", "ǅungla Ǆ ǆ", "Ελλάδα ΕΛΛΆΔΑ ελλαδα ς σ",
        "Привет, мир! ПРИВЕТ",
        "👍 ok 👍🏽 fine", "½ ² ₂ Ⅷ ① ª", "a\u200db zero\u200bwidth soft\xadhyphen", "\ue000private",
        "מִלָּה مرحبا हिन्दी",
        "x" * 3000, "tab\tnew\nline", "under_score __init__",
    ],
}  # fmt: skip

QUERIES = [
    "release", "release notes", "notes release", "the release", "RELEASE", "rel", "re", "releas not", "budget the",
    "ann.lee@example.com", "example.com", "https://example.com/a-b_c?q=1", "v1.2.3-rc1", "1.2", "state-of-the-art",
    "state of the art", "it's", "isn't it", "'quoted'", '"doubled"', "back\\slash", "\\", "1e5", "100,000.00",
    "-3", "50%",
    "<->", "a:*b", "a:*", "!maybe", "| &", "AT&T", "C++", "C#", "i/o", "e-mail", "the", "the the", "a", "an ox",
    "ox an",
    "naïve", "naive", "cafe", "café", "cafe\u0301", "unicode", "an*", "rele*", "release OR notes", "NOT release",
    "grüße", "grusse", "gruße", "köln", "koln", "KÖLN", "straße", "strasse", "STRASSE", "lief", "lieferung",
    "übergabe",
    "ubergabe", "die lieferung", "budget", "ß", "äöü", "aou",
    "회의", "회의는", "회", "예산", "예산 회의", "회의 예산", "오늘 회의는", "가나", "english를", "의록",
    "会議", "会議です", "会議 東京", "東京", "会", "議会", "会議会議", "カタカナ", "カタ", "ｶﾀｶﾅ", "ガギグ", "が",
    "Google", "googleの会議", "会議室a",
    "予算を確認", "確認してください", "午後三時からです", "雨です。会議", "です", "今日は 会議で",
    "ราคา", "สินค้า", "วันนี้", "İstanbul", "istanbul", "ıstanbul", "ǆ", "ǆungla", "ελλαδα", "ΕΛΛΆΔΑ", "σ", "ς",
    "привет мир", "👍",
    "ok", "½", "²", "2", "Ⅷ", "ⅷ", "①", "ª", "a\u200db", "ab", "zerowidth", "softhyphen", "soft", "\ue000private",
    "מילה",
    "מִלָּה", "مرحبا", "हिन्दी", "हिन", "x" * 3000, "x" * LONGEST, "x" * 20, "y" * 3000, "line", "tab new",
    "under_score", "init",
    "", " ", "\0", "a\0b", "'", "''", "tea ann", "plans", "leaves", "kettle",
]  # fmt: skip


@asynccontextmanager
async def both(postgres, folder):
    address = postgres.emptied()
    stores = []
    async with trio.open_nursery() as nursery:
        databases = [database_at(url, folder / "convod.sqlite") for url in ("", address)]
        for database in databases:
            database.open()
            nursery.start_soon(database.run)
            stores.append(SessionStore(database))
        yield stores
        nursery.cancel_scope.cancel()
    for database in databases:
        database.close()


async def put(store: SessionStore, name: str, owner: str, texts: list[str], *, summary: str = "") -> None:
    one = Record(
        id=f"0000000000{name}", owner=owner, kind="live", title=f"On {name}", state=State.COMPLETED, created=1.0,
        config=CreateSession(kind="live"), segments=len(texts),
    )  # fmt: skip
    await store.create(one)
    events: list = [
        TranscriptSegment(
            session=one.id, seq=number + 1, segment=number, start=float(number), end=number + 0.5, text=text,
            language="en", confidence=0.5, lag_ms=1.0,
        )
        for number, text in enumerate(texts)
    ]  # fmt: skip
    if summary:
        events.append(
            FinalSummary(
                session=one.id, seq=len(events) + 1, provider="p", model="m", title="Plans", summary=summary,
                key_points=["The kettle boils."], action_items=[ActionItem(text="Buy tea", owner="Ann", due="Friday")],
                keywords=["leaves"], language="en",
            )
        )  # fmt: skip
    await store.save(one, events)


SCOPES = [("me", 10, True), (None, 3, False), ("you's \\ '", 10, True)]


async def assert_same(stores: list[SessionStore], query: str, scopes: int = 2) -> int:
    found = 0
    for owner, limit, summaries in SCOPES[:scopes]:
        one, other = [await store.search(owner, query, limit, summaries=summaries) for store in stores]
        assert one == other, (query, owner)
        found += len(one)
    return found


async def test_words_side_by_side_far_behind_texts_that_have_them_apart(postgres, tmp_path):
    async with both(postgres, tmp_path) as stores:
        for store in stores:
            for name, owner in (("a", "me"), ("b", "me"), ("c", "you's \\ '")):
                texts = (
                    ["alpha beta"] * 4 + ["alpha and beta"] * 200 + ["beta alpha", "alpha beta"] + ["alpha beta?!"] * 2
                )
                await put(store, f"side{name}", owner, texts)
        found = 0
        # Without statistics, and with those that say who owns most sessions.
        for _ in range(2):
            for query in ("alpha beta", "beta alpha", "alpha beta and", "alph bet"):
                found += await assert_same(stores, query, scopes=3)
            assert await assert_same(stores, "and beta", scopes=3)
            postgres.run("ANALYZE", database="kept")
        assert found > 100


async def test_words_of_many_languages_and_signs(postgres, tmp_path):
    async with both(postgres, tmp_path) as stores:
        for store in stores:
            for language, texts in TALKS.items():
                await put(store, language, "me", texts, summary=f"About {language}: the budget, 会議, Köln.")
            await put(store, "yours", "you's \\ '", [text for texts in TALKS.values() for text in texts][::3])
        found = [await assert_same(stores, query) for query in QUERIES]
    assert sum(map(bool, found)) > len(QUERIES) // 2


async def test_random_talks_and_queries(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr("convod.store.search.COMMON", 60)
    monkeypatch.setattr("convod.store.search.SAMPLE", 10)
    monkeypatch.setattr("convod.store.tsvector.BLOCK", 9)
    monkeypatch.setattr("convod.store.tsvector.FEW", 1)
    chance = random.Random(7)
    letters = "abcABCäßéÉ0 ...,-'\"*:&|!()<>会議今日はです。회의กขİıΣς\u0301\u200d_\\%^{}[]@/"
    words = ["".join(chance.choices(letters, k=chance.randint(1, 6))).strip() or "a" for _ in range(60)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    texts = [" ".join(chance.choices(words, weights, k=chance.randint(1, 12))) for _ in range(150)]
    async with both(postgres, tmp_path) as stores:
        for store in stores:
            for number in range(5):
                await put(store, f"talk{number}", ("me", "you's \\ '")[number % 2], texts[number::5])
        found = 0
        for _ in range(50):
            query = " ".join(chance.choices(words, weights, k=chance.choice((1, 1, 2, 2, 3))))
            found += bool(await assert_same(stores, query[: chance.choice((2, 3, 99))], 3))
    assert found > 25


async def test_words_that_are_common_and_seldom_side_by_side(postgres, tmp_path, monkeypatch):
    for room in ("search", "tsvector"):
        monkeypatch.setattr(f"convod.store.{room}.COMMON", 60)
    monkeypatch.setattr("convod.store.tsvector.READ", 2)
    monkeypatch.setattr("convod.store.tsvector.BLOCK", 7)
    monkeypatch.setattr("convod.store.tsvector.FEW", 1)
    chance = random.Random(3)
    texts = [
        " ".join(chance.choices(["red", "wine", "tea", "cup", "of", "the"], k=chance.randint(2, 7))) for _ in range(120)
    ]
    ways = set()
    async with both(postgres, tmp_path) as stores:
        index = stores[1].database.index
        newest = index.newest

        def seen(connection, phrases, scope, among, oldest):
            ways.add("among" if among else "all" if oldest is None else "from")
            return newest(connection, phrases, scope, among, oldest)

        for store in stores:
            for number in range(3):
                await put(store, f"talk{number}", ("me", "you's \\ '")[number % 2], texts[number::3])
        monkeypatch.setattr(index, "newest", seen)
        for query in ("red wine", "the tea cup", "wine of red", "tea tea", "cup of the tea", "nowhere red", "re wi"):
            for limit in (1, 5, 20, 200):
                for owner in ("me", None):
                    one, other = [await store.search(owner, query, limit) for store in stores]
                    assert one == other, (query, limit)
    assert ways == {"all", "among", "from"}


async def test_a_text_longer_than_an_index_takes_is_found_by_its_beginning(postgres, tmp_path):
    many = " ".join(f"word{number}" for number in range(30_000))
    async with both(postgres, tmp_path) as stores:
        for store in stores:
            await put(store, "long", "me", [many])
            for query in ("word7", "word7 word8", "word12000"):
                assert len(await store.search("me", query, 10)) == 1, query


@pytest.mark.parametrize("text", ["nul \0 byte", "\0"])
async def test_a_text_with_a_nul_is_taken(postgres, tmp_path, text):
    async with both(postgres, tmp_path) as stores:
        for store in stores:
            await put(store, "nul", "me", [text])
            (segment,) = await store.segments("0000000000nul")
            assert segment.text == text
