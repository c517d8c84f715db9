"""Codes of languages as people write them."""

from __future__ import annotations

import pytest

from convo.languages import codes_in, name_of


@pytest.mark.parametrize(
    ("text", "codes"),
    [("", []), (" , ", []), ("de", ["de"]), ("de,ko,en", ["de", "ko", "en"]), (" DE, ko  en,,de ", ["de", "ko", "en"])],
)
def test_codes_are_read_as_people_write_them(text: str, codes: list[str]) -> None:
    assert codes_in(text) == codes


@pytest.mark.parametrize(("text", "wrong"), [("de,xx", "'xx'"), ("German", "'german'"), ("de;ko", "'de;ko'")])
def test_a_code_that_is_not_known_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} is not a language .* such as de,ko,en"):
        codes_in(text)


def test_names() -> None:
    assert (name_of("haw"), name_of("xx")) == ("hawaiian", "xx")
