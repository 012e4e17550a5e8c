"""Real clients against the live censor: what is blocked is blocked in the way that the rule says, the rest works."""

from __future__ import annotations

import base64
import hashlib
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from censor.packets import UDP
from tests.lab.censor_network import SERVER, Network, in_network, rules
from tests.lab.censor_services import quic_echo, quic_server, resolvers, web_server
from tests.lab.router_wire import Wire
from tests.lab.test_censor_names import FORGE, NXDOMAIN, SNI_DROP, SNI_RST

BLOCKED, INNOCENT = "www.messenger.example", "innocent.example"
PAGE = (
    """name = "page"\nwhen = 'http.host under "messenger.example"'\nactions = [{ kind = "block_page", status = 451 }]"""
)
QUIC = """name = "quic"\nwhen = 'quic.sni under "messenger.example"'\nactions = [{ kind = "drop" }]"""
CURL_TIMEOUT, CURL_CONNECT_ERROR = 28, 35
FORGED = {4: "192.0.2.66", 6: "2001:db8:1::66"}
TYPES = {4: "A", 6: "AAAA"}


async def curl(network: Network, scheme: str, name: str, version: int) -> tuple[int, str]:
    """Exit status and the page, with its HTTP status behind it."""
    options = (
        "-sS",
        f"-{version}",
        "-m",
        "3",
        "-w",
        "%{http_code}",
        "--cacert",
        str(network.folder / "certificate.pem"),
    )
    return await network.run("client", "curl", *options, f"{scheme}://{name}/")


async def openssl(network: Network, name: str, version: int) -> tuple[int, str]:
    """Of a handshake; the input's end is the connection's."""
    certificate = str(network.folder / "certificate.pem")
    host = SERVER[version] if version == 4 else f"[{SERVER[version]}]"
    command = ("openssl", "s_client", "-brief", "-connect", f"{host}:443", "-servername", name, "-CAfile", certificate)
    return await network.run("client", "timeout", "2", *command)


async def dig(network: Network, name: str, version: int, type_: str, *options: str) -> str:
    """What it prints of an answer by the resolver at the server's address."""
    command = ("dig", f"@{SERVER[version]}", "+tries=1", "+time=2", *options, name, type_)
    return (await network.run("client", *command))[1]


async def getaddrinfo(network: Network, name: str) -> str:
    """What the C library makes of a name: its addresses, or the error."""
    program = (
        "import socket, sys\n"
        "try:\n print(*sorted({one[4][0] for one in socket.getaddrinfo(sys.argv[1], 443)}))\n"
        "except socket.gaierror as error:\n print(error.errno == socket.EAI_NONAME)\n"
    )
    return (await network.run("client", sys.executable, "-c", program, name))[1].strip()


@in_network
async def test_curl_and_openssl_wait_for_a_dropped_name(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(SNI_DROP))
        for version in (4, 6):
            assert (await curl(network, "https", BLOCKED, version))[0] == CURL_TIMEOUT
            assert await curl(network, "https", INNOCENT, version) == (0, "ok\n200")
            assert (await openssl(network, BLOCKED, version))[0] == 124
            status, output = await openssl(network, INNOCENT, version)
            assert (status, "CONNECTION ESTABLISHED" in output) == (0, True)


@in_network
async def test_curl_and_openssl_tell_of_a_reset_name(network: Network) -> None:
    async with network.censor() as censor:
        await censor.apply(rules(SNI_RST))
        for version in (4, 6):
            status, output = await curl(network, "https", BLOCKED, version)
            assert (status, "reset" in output) == (CURL_CONNECT_ERROR, True)
            assert await curl(network, "https", INNOCENT, version) == (0, "ok\n200")
            status, output = await openssl(network, BLOCKED, version)
            assert (status, "errno=104" in output) == (1, True)
            status, output = await openssl(network, INNOCENT, version)
            assert (status, "CONNECTION ESTABLISHED" in output) == (0, True)


@in_network
async def test_curl_shows_the_block_page(network: Network) -> None:
    async with web_server(network), network.censor() as censor:
        await censor.apply(rules(PAGE))
        for version in (4, 6):
            status, output = await curl(network, "http", BLOCKED, version)
            assert (status, "<title>Blocked</title>" in output, output[-3:]) == (0, True, "451")
            assert await curl(network, "http", INNOCENT, version) == (0, "ok\n200")
            assert await curl(network, "https", BLOCKED, version) == (0, "ok\n200")


@in_network
async def test_dig_gets_no_such_name_over_udp_and_tcp(network: Network) -> None:
    async with resolvers(network), network.censor() as censor:
        await censor.apply(rules(NXDOMAIN))
        for version in (4, 6):
            for options in ((), ("+tcp",)):
                assert "status: NXDOMAIN" in await dig(network, BLOCKED, version, "A", *options)
                said = await dig(network, INNOCENT, version, TYPES[version], "+short", *options)
                assert said.strip() == SERVER[version]


@in_network
async def test_dig_gets_forged_addresses_over_udp_and_tcp(network: Network) -> None:
    async with resolvers(network), network.censor() as censor:
        await censor.apply(rules(FORGE))
        for version in (4, 6):
            for options in ((), ("+tcp",)):
                for answered, type_ in TYPES.items():
                    said = await dig(network, BLOCKED, version, type_, "+short", *options)
                    assert said.strip() == FORGED[answered]
                    said = await dig(network, INNOCENT, version, type_, "+short", *options)
                    assert said.strip() == SERVER[answered]


@in_network
async def test_system_resolver(network: Network) -> None:
    async with network.censor() as censor:
        assert await getaddrinfo(network, BLOCKED) == f"{SERVER[6]} {SERVER[4]}"
        await censor.apply(rules(NXDOMAIN))
        assert await getaddrinfo(network, BLOCKED) == "True"
        assert (await network.run("client", "getent", "hosts", BLOCKED))[0] == 2
        await censor.apply(rules(FORGE))
        assert await getaddrinfo(network, BLOCKED) == f"{FORGED[4]} {FORGED[6]}"
        assert await getaddrinfo(network, INNOCENT) == f"{SERVER[6]} {SERVER[4]}"


@in_network
async def test_quic(network: Network) -> None:
    async with quic_server(network), network.censor() as censor:
        for version in (4, 6):
            assert await quic_echo(network, BLOCKED, version) == b"hello\n"
        await censor.apply(rules(QUIC))
        for version in (4, 6):
            with pytest.raises(TimeoutError):
                await quic_echo(network, BLOCKED, version)
            assert await quic_echo(network, INNOCENT, version) == b"hello\n"
            assert await network.fetch(BLOCKED, version) == b"hello\n"
        assert {one["name"] for one in network.events.of("censor_hit", rule="quic")} == {BLOCKED}


class Chromium:
    """Headless, a new profile for each page."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._number = 0

    async def page(self, name: str, address: str, *more: str) -> str:
        """The document at https://name/, or Chromium's page about an error."""
        self._number += 1
        home = self._network.folder / f"home{self._number}"
        home.mkdir()
        places = [f"{variable}={home}" for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR")]
        options = [*QUIET, *more, f"--user-data-dir={home}/profile", f"--host-resolver-rules=MAP {name} {address}"]
        command = ["env", *places, "chromium", "--headless", *options, "--dump-dom", f"https://{name}/"]
        return (await self._network.run("client", *command))[1]

    async def page_over_quic(self, name: str, address: str) -> str:
        """The same over QUIC, and over nothing else."""
        certificate = x509.load_pem_x509_certificate((self._network.folder / "certificate.pem").read_bytes())
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        trusted = base64.b64encode(
            hashlib.sha256(key).digest()
        ).decode()  # QUIC has to have a certificate that it trusts
        options = (f"--origin-to-force-quic-on={name}:443", f"--ignore-certificate-errors-spki-list={trusted}")
        return await self.page(name, address, "--enable-quic", *options)


QUIET = (
    "--no-sandbox",  # it refuses to be root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--ignore-certificate-errors",
    "--timeout=4000",
)


@pytest.mark.programs("chromium")
@in_network
async def test_chromium(network: Network) -> None:
    chromium = Chromium(network)
    async with network.censor() as censor:
        await network.kernel("ip", "-n", "client", "link", "set", "eth0", "gso_max_segs", "1")
        await censor.apply(rules(SNI_RST))
        with Wire() as wire:
            assert "ok" in await chromium.page(INNOCENT, SERVER[4])
            # It opens a connection or two in advance. The rest of its ClientHello is in another segment.
            hellos = [one.payload for one in wire.passed(port=443) if one.payload.startswith(b"\x16\x03\x01")]
            assert hellos
            assert all(int.from_bytes(hello[3:5], "big") > len(hello) for hello in hellos)
        assert "ok" in await chromium.page(INNOCENT, f"[{SERVER[6]}]")
        assert "ERR_CONNECTION_RESET" in await chromium.page(BLOCKED, SERVER[4])
        assert "ERR_CONNECTION_RESET" in await chromium.page(BLOCKED, f"[{SERVER[6]}]")


@pytest.mark.programs("chromium")
@in_network
async def test_chromium_over_quic(network: Network) -> None:
    chromium = Chromium(network)
    async with quic_server(network), network.censor() as censor:
        await censor.apply(rules(QUIC))
        with Wire() as wire:
            assert "<body>h3</body>" in await chromium.page_over_quic(INNOCENT, SERVER[4])
            datagrams = [one.payload for one in wire.passed(port=443) if one.to_server and one.packet.protocol == UDP]
            assert [data[0] & 0xF0 for data in datagrams[:2]] == [0xC0, 0xC0]  # two Initials: the name may be in either
        assert "<body></body>" in await chromium.page_over_quic(
            BLOCKED, SERVER[4]
        )  # it still waits when its time is up
        assert {one["name"] for one in network.events.of("censor_hit", rule="quic")} == {BLOCKED}
        assert "<body>h3</body>" in await chromium.page_over_quic(INNOCENT, f"[{SERVER[6]}]")
        assert "<body></body>" in await chromium.page_over_quic(BLOCKED, f"[{SERVER[6]}]")
