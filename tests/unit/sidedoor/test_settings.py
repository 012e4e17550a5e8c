"""Settings from text and files; test_mistakes.py has what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sidedoor.settings import SettingsError, UsageError, convert, first_of, parse, read


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ports: list[int] = []


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    idle_seconds: float = 60.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:1080"
    limits: Limits | None = None
    rules: list[Rule] = []


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('listen = "[::1]:1080"\n[limits]\nidle-seconds = 5\n[[rules]]\nname = "a"\nports = [443]\n')
    assert read(path, Settings) == Settings("[::1]:1080", Limits(5.0), [Rule("a", [443])])


def test_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('listen = "[::1]:1080"\n', encoding="utf-8-sig")
    assert read(path, Settings) == Settings("[::1]:1080")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"^x: key `limits.idle-seconds`: expected a finite number; found {number}$"
    ):
        parse(f"[limits]\nidle-seconds = {number}\n", Settings, origin="x")
    with pytest.raises(SettingsError, match=r"key `rules\[0\].ports\[1\]`: expected a finite number"):
        parse(f"[[rules]]\nports = [1, {number}]\n", Settings)


def test_an_empty_file_is_the_defaults() -> None:
    assert parse("", Settings) == Settings()


def test_no_toml() -> None:
    with pytest.raises(SettingsError, match=r"proxy\.toml: not valid TOML: "):
        parse("listen = ", Settings, origin="proxy.toml")


def test_a_mistake_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text("listen = 1080\n")
    with pytest.raises(SettingsError) as error:
        read(path, Settings)
    assert str(error.value) == f"{path}: key `listen`: expected a string; found the integer 1080"


def test_the_top_level_itself_has_the_wrong_type() -> None:
    with pytest.raises(SettingsError, match="settings: Expected `object`, got `array`"):
        convert([], Settings)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file or directory"):
        read(tmp_path / "none.toml", Settings)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"a = 1\n\xff")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text \(byte 6\)"):
        read(path, Settings)


def test_of_mistakes_in_groups_the_first_is_told() -> None:
    mistakes = [UsageError("first"), UsageError("second")]
    inner = ExceptionGroup("", mistakes)
    assert first_of(ExceptionGroup("", [inner, UsageError("third")])) is mistakes[0]
