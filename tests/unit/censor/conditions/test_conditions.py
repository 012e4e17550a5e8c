"""censor/conditions/__init__.py"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.conditions import Condition, ConditionError
from censor.conditions.syntax import And, Flag, ListRef, Under
from tests.unit.censor.conditions.vocabulary import LISTS, PROPERTIES, condition


def test_a_condition() -> None:
    text = "tls.sni under @registry and client.inside"
    blocked = condition(text)
    assert blocked.text == text
    assert blocked.tree == And((Under("tls.sni", ListRef("registry")), Flag("client.inside")))
    assert blocked.properties == {"tls.sni", "client.inside"}
    assert blocked.lists == {"registry"}
    assert blocked.evaluate({"client.inside": True}) is None
    assert blocked.evaluate({"client.inside": True, "tls.sni": "www.t.me"}) is True
    assert blocked == condition(text)
    assert "evaluate" not in repr(blocked)


def attempt(text: str) -> Condition | ConditionError:
    try:
        return condition(text)
    except ConditionError as error:
        return error


REFERENCE = (Path(__file__).resolve().parents[4] / "docs/censor-conditions.md").read_text(encoding="utf-8")


def examples(kind: str) -> list[str]:
    """The lines of the reference's only block of this kind."""
    return REFERENCE.split(f"```{kind}\n")[1].split("\n```")[0].splitlines()


MISTAKES = list(zip(*[iter(examples("mistakes"))] * 2, strict=True))  # the condition, then the message


@pytest.mark.parametrize("text", examples("condition"))
def test_the_references_examples(text: str) -> None:
    assert condition(text).text == text


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_the_references_mistakes(text: str, message: str) -> None:
    assert str(attempt(text)) == message.strip()


WORDS = ("and", "or", "not", "in", "under", "contains", "matches", "exists", "true", "false")
SYMBOLS = ("==", "!=", "<", "<=", ">", ">=", "(", ")", "[", "]", ",", "..", "\\", "\n", "'")
NUMBERS = ("0", "443", "-1", "3.4", "9" * 25)
QUOTED = ('"', '""', '"t.me"', '"(a+)+"', '"["', '"192.0.2.0/24"', '"x/24"')
FRAGMENTS = (*PROPERTIES, *(f"@{name}" for name in LISTS), "@none", *WORDS, *SYMBOLS, *NUMBERS, *QUOTED)


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS)).map(" ".join))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    result = attempt(text)
    if isinstance(result, ConditionError):
        assert 0 <= result.position <= len(text)
    else:
        assert result.evaluate({}) is None


@given(st.text(), st.sampled_from(["tls.sni ==", "tls.sni contains", "http.url matches", "client.address in"]))
def test_any_text_in_quotes_is_a_value_or_an_error(text: str, before: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    result = attempt(f"{before} [{quoted}]" if before.endswith(("in", "contains")) else f"{before} {quoted}")
    assert isinstance(result, Condition) or result.position > len(before)
