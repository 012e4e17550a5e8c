"""Three hosts for the censor's tests: client, router (where the test's code runs) and server, made of namespaces.

A test's body runs in a Python process of its own inside fresh user, network, mount and PID namespaces, so that nothing
survives it. The process lives on the router; `Network.socket` opens sockets on the other two.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime
import importlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import dns.flags
import dns.message
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from censor.censor import Censor, CensorSettings
from censor.rules_file import parse_rules
from lab.machine import search_path

CLIENT = {4: "192.0.2.10", 6: "2001:db8:1::10"}
SERVER = {4: "203.0.113.10", 6: "2001:db8:2::10"}
NAMES = ("messenger.example", "www.messenger.example", "innocent.example")
_UNSHARE = ("unshare", "-Urnmpf", "--map-root-user", "--kill-child", "--mount-proc")
_TIMEOUT_SECONDS = 60
_CLONE_NEWNET = 0x40000000

_SETUP = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
printf 'nameserver {SERVER[4]}\\noptions timeout:1 attempts:1\\n' > /run/resolv.conf
mount --bind /run/resolv.conf "$(readlink -f /etc/resolv.conf)" || mount --bind /run/resolv.conf /etc/resolv.conf
# Without this, IPv6 is not forwarded for the first second or two: until its link-local address has been looked for in
# vain (RFC 4862, section 5.4), the router asks for no neighbour.
no_dad='echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad'
sh -c "$no_dad"
for host in client server; do
  ip netns add $host
  nsenter --net=/run/netns/$host sh -c "$no_dad"
  ip link add $host type veth peer name eth0 netns $host
  ip link set $host up
  ip -n $host link set lo up
  ip -n $host link set eth0 up
done
ip addr add 192.0.2.1/24 dev client; ip addr add 2001:db8:1::1/64 dev client nodad
ip addr add 203.0.113.1/24 dev server; ip addr add 2001:db8:2::1/64 dev server nodad
ip -n client addr add {CLIENT[4]}/24 dev eth0; ip -n client addr add {CLIENT[6]}/64 dev eth0 nodad
ip -n server addr add {SERVER[4]}/24 dev eth0; ip -n server addr add {SERVER[6]}/64 dev eth0 nodad
ip -n client route add default via 192.0.2.1; ip -n client route add default via 2001:db8:1::1
ip -n server route add default via 203.0.113.1; ip -n server route add default via 2001:db8:2::1
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""

# A host more between router and server, whose interface to the server was the router's.
_WAN_SETUP = """
set -e
ip netns add wan
ip -n wan link set lo up
ip link set server netns wan
ip -n wan link set server up
ip -n wan addr add 203.0.113.1/24 dev server; ip -n wan addr add 2001:db8:2::1/64 dev server nodad
ip link add wan type veth peer name router netns wan
ip link set wan up; ip -n wan link set router up
ip addr add 198.51.100.1/24 dev wan; ip addr add 2001:db8:3::1/64 dev wan nodad
ip -n wan addr add 198.51.100.2/24 dev router; ip -n wan addr add 2001:db8:3::2/64 dev router nodad
ip route add 203.0.113.0/24 via 198.51.100.2; ip route add 2001:db8:2::/64 via 2001:db8:3::2
ip -n wan route add default via 198.51.100.1; ip -n wan route add default via 2001:db8:3::1
ip netns exec wan sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
"""
_WAN = (sys.executable, "-m", "lab.benchmarks.censor.wan")

Body = Callable[["Network"], Awaitable[None]]


class Events(list[dict[str, Any]]):
    """An Emit that keeps what was reported and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.patience_seconds = 5.0
        self._changed = asyncio.Event()

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.append({"event": event} | fields)
        self._changed.set()

    def of(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        wanted = {"event": event} | fields
        return [one for one in self if wanted.items() <= one.items()]

    async def first(self, event: str, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(self.patience_seconds):
            while not self.of(event, **fields):
                self._changed.clear()
                await self._changed.wait()
        return self.of(event, **fields)[0]


class Network:
    """The hosts, with a TLS echo server on port 443 and a DNS server on port 53 of the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = Events()
        self.dns_queries: list[str] = []
        self._stack = AsyncExitStack()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._here = os.open("/proc/self/ns/net", os.O_RDONLY)

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Inside, what this thread opens or starts is on `host`."""
        there = os.open(f"/run/netns/{host}", os.O_RDONLY)
        try:
            assert self._libc.setns(there, _CLONE_NEWNET) == 0
            yield
        finally:
            assert self._libc.setns(self._here, _CLONE_NEWNET) == 0
            os.close(there)

    def socket(self, host: str, version: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        with self.on(host):
            opened = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        opened.setblocking(False)
        return opened

    async def kernel(self, *command: str) -> str:
        """What a command of the kernel's tools prints on the router; they are not in every user's PATH."""
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=tools_environment())
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
        assert process.returncode == 0, command
        return output.decode()

    async def run(self, host: str, *command: str) -> tuple[int, str]:
        """Exit status and output (both streams) of a command on `host`."""
        with self.on(host):
            process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    @asynccontextmanager
    async def serving(self, host: str, *command: str) -> AsyncIterator[None]:
        """A program on `host` that says a line when it is ready, and ends with its standard input."""
        with self.on(host):
            process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert await process.stdout.readline(), f"{command} ended with {await process.wait()}"
            yield
        finally:
            process.stdin.close()
            async with asyncio.timeout(5):
                await process.wait()

    @asynccontextmanager
    async def far(self, delay_seconds: float) -> AsyncIterator[None]:
        """Once: a wan between router and server, whose round trip takes twice the delay."""
        await self.kernel("sh", "-c", _WAN_SETUP)
        async with self.serving("wan", *_WAN, str(delay_seconds)):
            yield

    def censor(self, **settings: Any) -> Censor:
        """A censor on the router that reports to `events`."""
        return Censor(CensorSettings(**settings), self.events)

    async def connect(
        self, name: str, version: int = 4, *, source: str | None = None, timeout: float = 3
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A verified TLS connection from the client (its address `source`) to the server under `name`."""
        connection = self.socket("client", version)
        try:
            if source is not None:
                connection.bind((source, 0))
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(connection, (SERVER[version], 443))
                context = ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))
                return await asyncio.open_connection(sock=connection, ssl=context, server_hostname=name)
        except BaseException:
            connection.close()
            raise

    async def fetch(self, name: str, version: int = 4, *, source: str | None = None) -> bytes:
        """One echo over a connection of its own."""
        streams = await self.connect(name, version, source=source)
        try:
            return await echo(streams)
        finally:
            streams[1].close()

    async def __aenter__(self) -> Network:
        make_certificate(self.folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "certificate.pem", self.folder / "key.pem")
        loop = asyncio.get_running_loop()
        for version in (4, 6):
            listener = self.socket("server", version)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((SERVER[version], 443))
            server = await asyncio.start_server(_echo_lines, sock=listener, ssl=context)
            self._stack.callback(server.close)
        resolver = self.socket("server", 4, socket.SOCK_DGRAM)
        resolver.bind((SERVER[4], 53))
        transport, _ = await loop.create_datagram_endpoint(lambda: Resolver(self.dns_queries), sock=resolver)
        self._stack.callback(transport.close)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._stack.aclose()
        os.close(self._here)


async def echo(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], timeout: float = 3) -> bytes:
    reader, writer = streams
    writer.write(b"hello\n")
    async with asyncio.timeout(timeout):
        return await reader.readline()


async def _echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo lines; a line `GET ...` is answered as HTTP/1.0, for curl."""
    try:
        while line := await reader.readline():
            if line.startswith(b"GET "):
                writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
                await writer.drain()
                break
            writer.write(line)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Resolver(asyncio.DatagramProtocol):
    """Answers every A and AAAA question with the server's addresses."""

    def __init__(self, queries: list[str]) -> None:
        self._queries = queries

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._transport.sendto(self.answer(data), address)

    def answer(self, data: bytes) -> bytes:
        """To one query."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        self._queries.append(question.name.to_text(omit_final_dot=True))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        for type_, version in (("A", 4), ("AAAA", 6)):
            if question.rdtype == dns.rdatatype.from_text(type_):
                answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", type_, SERVER[version]))
        return answer.to_wire()


def make_certificate(folder: Path) -> None:
    """certificate.pem and key.pem for NAMES, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in NAMES]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def tools_environment() -> dict[str, str]:
    """The environment for the tests' own calls of `nft` and `iptables`; the censor itself runs with the user's."""
    return os.environ | {"PATH": search_path()}


def rules(*tables: str, fail: str = "open") -> Any:
    """A rule set out of the bodies of its [[rule]] tables."""
    return parse_rules(f'[censor]\nfail = "{fail}"\n' + "".join(f"[[rule]]\n{table}\n" for table in tables))


def in_network(body: Body) -> Callable[[], None]:
    """Make a test out of a coroutine function that takes a Network."""

    @pytest.mark.netns
    def test() -> None:
        command = [*_UNSHARE, sys.executable, "-m", __name__, body.__module__, body.__name__]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout

    test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
    test.body = body  # type: ignore[attr-defined]  # what the process in the namespaces runs
    return test


async def _main(module: str, name: str, folder: Path) -> None:
    body: Body = getattr(importlib.import_module(module), name).body
    async with asyncio.timeout(_TIMEOUT_SECONDS - 5), Network(folder) as network:
        await body(network)


if __name__ == "__main__":
    subprocess.run(["sh", "-c", _SETUP], env=tools_environment(), check=True, timeout=20)
    with tempfile.TemporaryDirectory(dir="/run") as temporary:
        asyncio.run(_main(sys.argv[1], sys.argv[2], Path(temporary)))
