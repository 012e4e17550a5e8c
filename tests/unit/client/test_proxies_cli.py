from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from nacl.signing import SigningKey

from client.cli import client
from client.keys import draw_key
from client.proxy_list import ListSource, sign
from client.settings import Socks5Route
from sidedoor.settings import UsageError

LIST = """\
version = 3
expires = 2999-01-31T00:00:00Z
parts = 2

[[routes]]
kind = "socks5"
name = "proxy1"
host = "198.51.100.11"
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(client, ["proxies", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    path.write_text(bytes(range(32)).hex() + "\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "list.toml"
    path.write_text(LIST)
    return path


def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    first = run("key", path)
    assert path.stat().st_mode & 0o777 == 0o600
    private = path.read_text()
    assert first.output.strip() == bytes(SigningKey(bytes.fromhex(private)).verify_key).hex()
    assert run("key", path).output == first.output
    assert path.read_text() == private


def test_sign_and_show(tmp_path: Path, key: Path, source: Path) -> None:
    public = run("key", key).output.strip()
    signed = run("sign", "--key", key, source)
    assert signed.exit_code == 0
    assert "2 parts and fewer routes" in signed.stderr
    (tmp_path / "proxies.signed").write_text(signed.stdout)
    shown = run("show", "--public-key", public, tmp_path / "proxies.signed")
    assert shown.exit_code == 0
    heads = [line for line in shown.output.splitlines() if line.startswith("version")]
    assert [line.rpartition(", ")[0] for line in heads] == [
        f"version 3, part {part} of 2, expires 2999-01-31 00:00 UTC" for part in (1, 2)
    ]
    assert sorted(line.rpartition(", ")[2] for line in heads) == ["0 routes", "1 route"]
    assert shown.output.count('"name":"proxy1"') == 1


def test_what_has_expired_is_shown_but_not_signed(tmp_path: Path, key: Path, source: Path) -> None:
    signing_key = SigningKey(bytes(range(32)))
    past = ListSource(version=1, expires=datetime.now(UTC) - timedelta(days=1), routes=())
    (tmp_path / "old").write_bytes(sign(past, signing_key)[0])
    assert "expired" in run("show", "--public-key", bytes(signing_key.verify_key).hex(), tmp_path / "old").output
    source.write_text(LIST.replace("2999", "1999"))
    assert "`expires` is in the past" in refused("sign", "--key", key, source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version = 3", ""), "`version` is missing"),
        (("kind =", "knid ="), "`routes[0].kind`"),
        (("Z\n", "\n"), "`expires`: expected a time with its zone, as 2027-01-31T00:00:00Z; found 2999-01-31"),
        (('kind = "socks5"', 'kind = "direct"'), "is unknown where `kind` is 'direct'; known here: kind"),
        (('"proxy1"', '"direct"'), "direct"),
        (("parts = 2", "part = 2"), "did you mean `parts`"),
    ],
)
def test_mistakes_in_the_list_are_named(key: Path, source: Path, change: tuple[str, str], message: str) -> None:
    source.write_text(LIST.replace(*change))
    line = refused("sign", "--key", key, source)
    assert str(source) in line
    assert message in line


def test_a_list_too_long_is_not_signed(key: Path, source: Path) -> None:
    routes = [f'[[routes]]\nkind = "socks5"\nname = "{"x" * 200}{number}"\nhost = "::1"\n' for number in range(2000)]
    source.write_text(LIST.replace("parts = 2", "parts = 1") + "\n".join(routes))
    assert "more `parts`" in refused("sign", "--key", key, source)


def test_key_files_that_are_none(tmp_path: Path, key: Path, source: Path) -> None:
    assert "`sidedoor client proxies key" in refused("sign", "--key", tmp_path / "missing", source)
    key.write_text("secret that is no key")
    for arguments in (("key", key), ("sign", "--key", key, source)):
        line = refused(*arguments)
        assert "expected 64 hexadecimal digits" in line
        assert "secret that" not in line
    assert "No such file" in refused("key", tmp_path / "missing" / "key")


def test_an_end_s_key_signs_nothing(key: Path, source: Path) -> None:
    key.write_text(draw_key() + "\n")
    for arguments in (("key", key), ("sign", "--key", key, source)):
        line = refused(*arguments)
        assert "this is an end's key" in line
        assert "`sidedoor client proxies key FILE`" in line


def test_a_signature_that_is_not_right(tmp_path: Path, key: Path) -> None:
    route = Socks5Route(name="proxy1", host="::1")
    expires = datetime(2999, 1, 1, tzinfo=UTC)
    document = sign(ListSource(version=1, expires=expires, routes=(route,)), SigningKey(bytes(32)))[0]
    (tmp_path / "signed").write_bytes(document)
    public = run("key", key).output.strip()
    assert f"line 1: the signature is not that of {public}" in refused(
        "show", "--public-key", public, tmp_path / "signed"
    )
    assert "--public-key: no key" in refused("show", "--public-key", "zz", tmp_path / "signed")
