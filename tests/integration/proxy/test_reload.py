"""SIGHUP on the real command: flows that stand go on, clients that come from then on meet the new settings."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.hashing import hash_password
from tests.integration.proxy.command import (
    Traffic,
    both,
    credentials,
    receive,
    replied,
    requested,
    running,
    until,
)
from tests.integration.proxy.test_cli import SECONDS

FLOWS = 500


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """A certificate for `name`, signed by itself, and its key: two PEM files in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


def encrypted(folder: Path, key: str) -> str:
    """The same key, which takes a password to read."""
    plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    file = folder / "encrypted.key"
    file.write_bytes(plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return str(file)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def presented(port: int) -> str:
    """The name in the certificate that a TLS client is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock, context.wrap_socket(sock) as tls:
        shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    return str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@both
def test_flows_go_on_and_new_clients_meet_the_new_settings(workers: int, target: socket.socket, tmp_path: Path) -> None:
    old, new = certificate(tmp_path, "old.example"), certificate(tmp_path, "new.example")
    tls_port, allowed = free_port(), target.getsockname()

    def settings(users: dict[str, str], files: tuple[str, str], rules: list[object]) -> dict[str, object]:
        tls = {"address": f"127.0.0.1:{tls_port}", "certificate": files[0], "key": files[1]}
        return {"listen": ["127.0.0.1:0", tls], "users": users, "rules": rules}

    with contextlib.ExitStack() as stack:
        denied = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        denied.settimeout(SECONDS)
        before = settings({"anna": "secret", "bert": "secret"}, old, [])
        command = stack.enter_context(running(tmp_path, workers, **before))
        assert presented(tls_port) == "old.example"
        flows = []
        for index in range(FLOWS):
            through = denied if index % 100 == 0 else target
            near, far = command.flow(through, "bert" if index % 2 else "anna")
            flows.append((stack.enter_context(near), stack.enter_context(far)))

        with Traffic(flows) as traffic:
            traffic.goes_on()
            rule = {"action": "deny", "name": "closed", "ports": [denied.getsockname()[1]]}
            command.reload(**settings({"anna": "secret", "carl": "secret"}, new, [rule]))
            for _ in range(8):  # on each worker
                assert command.reply(denied.getsockname(), "anna") == 2
                assert command.reply(allowed, "bert") == -1
                assert command.reply(allowed, "carl") == 0
                assert presented(tls_port) == "new.example"
            traffic.goes_on()
            command.reload(**before)
            assert presented(tls_port) == "old.example"
            for was, becomes in zip(old, new, strict=True):  # renewed in place
                Path(was).write_bytes(Path(becomes).read_bytes())
            command.reload(**before)
            assert presented(tls_port) == "new.example"
            traffic.goes_on()
            traffic.finish()
        assert [line["event"] for line in command.log if line["level"] == "warning"] == ["login_failed"] * 8


MISTAKES = [
    ("lisen = []", "key `lisen` is unknown; did you mean `listen`?"),
    ("listen = [", "not valid TOML"),
    ("idle_seconds = 0", "idle_seconds: is 0.0; give a number above 0"),
    ('via = "nowhere"', 'via: "nowhere" is not among the upstreams; expected one of: none'),
    ('[users]\nanna = "$argon2id$nonsense"', "users.anna.password: begins like an Argon2 hash"),
    ('access_log = "/nowhere/log"', "access_log: /nowhere/log: cannot be written: there is no folder /nowhere"),
    (
        '[[listen]]\naddress = "127.0.0.1:0"\ncertificate = "/nowhere/c"\nkey = "/nowhere/k"',
        "certificate /nowhere/c or key /nowhere/k cannot be read: No such file or directory",
    ),
]


@both
def test_a_mistake_changes_nothing_and_is_one_line_of_the_log(
    workers: int, target: socket.socket, tmp_path: Path
) -> None:
    rule = {"action": "deny", "ports": [1]}
    good: dict[str, object] = {"users": {"anna": "secret"}, "rules": [rule]}
    with running(tmp_path, workers, **good) as command:
        for number, (text, error) in enumerate(MISTAKES, 1):
            command.file.write_text(text)
            command.send(signal.SIGHUP)
            line = command.logged("reload_failed", number)
            assert error in line["error"]
            assert line["file"] == str(command.file)
        assert command.reply(target.getsockname(), "anna") == 0
        assert command.reply(("127.0.0.1", 1), "anna") == 2
        assert command.reply(target.getsockname(), "anna", "wrong") == -1
        command.file.unlink()
        command.send(signal.SIGHUP)
        assert "cannot be read: No such file" in command.logged("reload_failed", len(MISTAKES) + 1)["error"]
        command.reload(**good)
        assert len(command.lines("reload_failed")) == len(MISTAKES) + 1
        assert "secret" not in json.dumps(command.log)


@both
def test_a_key_with_a_password_is_a_mistake(workers: int, tmp_path: Path) -> None:
    """Nobody is there to be asked for it."""
    chain, key = certificate(tmp_path, "proxy.example")
    with running(tmp_path, workers) as command:
        listen = {"address": "127.0.0.1:0", "certificate": chain, "key": encrypted(tmp_path, key)}
        command.write(listen=[listen])
        command.send(signal.SIGHUP)
        assert "encrypted.key is encrypted; expected one that is not" in command.logged("reload_failed")["error"]
        with command.client() as sock:
            assert receive(sock, 2) == b"\x05\x00"


@both
def test_signals_to_reload_may_come_faster_than_it_does(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """Some are one then; the last file holds."""
    with running(tmp_path, workers) as command:
        for number in range(1, 101):
            rule = {"action": "deny", "name": f"rule {number}", "ports": [target.getsockname()[1]]}
            command.write(rules=[rule])
            command.send(signal.SIGHUP)
        until(lambda: command.reply(target.getsockname()) == 2)
        command.write(rules=[])
        command.send(signal.SIGHUP)
        until(lambda: [command.reply(target.getsockname()) for _ in range(8)] == [0] * 8)
        assert {line["event"] for line in command.log} == {"reloaded"}


@both
def test_what_needs_a_restart_is_logged_once_and_stays(workers: int, target: socket.socket, tmp_path: Path) -> None:
    with running(tmp_path, workers, rules=[]) as command:
        wanted: dict[str, object] = {
            "listen": ["127.0.0.1:1"],
            "open": True,
            "state": str(tmp_path / "state"),
            "rules": [{"action": "deny", "ports": [1]}],
        }
        for number in (1, 2):
            command.reload(**wanted)
            keys = command.logged("reload_needs_restart", number)["keys"]
            assert sorted(keys) == ["listen", "open", "state"]
        assert len(command.lines("reload_needs_restart")) == 2
        assert command.reply(target.getsockname()) == 0
        assert command.reply(("127.0.0.1", 1)) == 2
        assert not (tmp_path / "state").exists()
        if workers == 2:
            status, text = command.admin("GET", "/config")
            config = json.loads(text)
            assert (status, config["state"], config["open"]) == (200, "", False)
            assert config["listen"][0]["address"] == "127.0.0.1:0"
            assert config["rules"][0]["ports"] == [1], "that is in effect"


@both
def test_an_open_address_does_not_lose_its_users(workers: int, tmp_path: Path) -> None:
    """The file has another address now, for which nobody is needed; the one that is listened on is the old one."""
    with running(tmp_path, workers, listen=["0.0.0.0:0"], users={"anna": "secret"}) as command:
        command.file.write_text('listen = ["127.0.0.1:1080"]\n')
        command.send(signal.SIGHUP)
        assert "0.0.0.0:0 is not a loopback address and there are no users" in command.logged("reload_failed")["error"]
        with command.client() as sock:
            assert receive(sock, 2) == b"\x05\xff"


@both
def test_who_waits_for_his_password_meets_the_new_users(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """A hash takes a moment, and the users may be others then."""
    settings: dict[str, object] = {
        "users": {"anna": hash_password("secret"), "bert": hash_password("secret"), "fast": "secret"},
    }
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, **settings))
        waiting: dict[str, list[socket.socket]] = {"anna": [], "bert": []}
        for name in ("anna", "bert") * 4:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", command.port), SECONDS))
            sock.sendall(b"\x05\x01\x02" + credentials(name, "secret") + requested(target.getsockname()))
            waiting[name].append(sock)
        settings["users"] = {"anna": "secret", "fast": "secret"}
        command.reload(**settings)
        assert [replied(sock, authenticated=True) for sock in waiting["anna"]] == [0] * 4
        answers = {replied(sock, authenticated=True) for sock in waiting["bert"]}
        assert answers <= {0, -1}, "he was there when the first of them were answered"
        assert command.reply(target.getsockname(), "bert") == -1


@both
def test_a_signal_that_comes_while_workers_start_ends_none_of_them(
    workers: int, target: socket.socket, tmp_path: Path
) -> None:
    """SIGHUP would: nobody has asked for it otherwise."""
    with running(tmp_path, workers) as command:
        rule = {"action": "deny", "ports": [target.getsockname()[1]]}
        command.reload(rules=[rule])  # at once: the first line is there before the workers
        assert [command.reply(target.getsockname()) for _ in range(8)] == [2] * 8
        assert command.lines("worker_died") == []
