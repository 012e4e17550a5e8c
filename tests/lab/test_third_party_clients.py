"""Programs of other people's in the lab: direct, blocked as the rule says, and through the proxy, seen in the capture.

curl, Chromium, and slixmpp with prosody as its server: none of them knows of Sidedoor. Through the proxy, the name of
the blocked site is the proxy's to resolve: no look-up for it, and no other packet with it, leaves the client.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.measurement.leaks import Leaks, find_leaks
from lab.measurement.packets import read as read_packets
from lab.scenario import SHIPPED
from lab.topology import ORIGIN_NAME, standard
from sidedoor.api import Lab
from tests.lab.host_program import PATIENCE_SECONDS, Program

pytestmark = pytest.mark.netns  # the programs are this machine's

DOMAIN_RULES, ADDRESS_RULES = (SHIPPED / "quickstart" / name for name in ("domain.toml", "address.toml"))
ORIGIN = f"https://{ORIGIN_NAME}/"
NAME = "test-clients"
CURL_UNRESOLVED, CURL_TIMEOUT, CURL_CONNECT_ERROR = 6, 28, 35


@dataclass
class Watched:
    """A lab that is captured, and the moment from which on everything goes through the proxy."""

    lab: Lab
    folder: Path
    began: float
    proxied_since: float | None = None

    @property
    def proxy(self) -> str:
        address = self.lab.status()["proxies"][0]
        assert isinstance(address, str)
        return address

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.lab.execute("client", command, capture_output=True, text=True, timeout=60)

    def from_now_on_proxied(self) -> None:
        self.proxied_since = time.time()

    def leaks(self) -> tuple[Leaks, Leaks]:
        """What left the client with the name or to the messenger: before it went through the proxy, and since.

        By the check that every run of a scenario is measured with. The lab is down after this: its captures are whole.
        """
        self.lab.down()
        assert self.proxied_since is not None
        found = []
        for start, end in ((self.began, self.proxied_since), (self.proxied_since, time.time())):
            # The check lets a second of grace pass after a switch; here there is none.
            switch = {"t": -1.0, "event": "route_switched", "old": "direct", "new": "proxy1"}
            packets = read_packets(self.folder / "client-home.pcap", start=start)
            topology = standard()
            found.append(
                find_leaks(
                    [packet for packet in packets if 0 <= packet.t < end - start],
                    [switch],
                    client_addresses=topology.host("client").addresses(),
                    messenger_addresses=topology.names[ORIGIN_NAME],
                    messenger_names=[ORIGIN_NAME],
                    proxy_addresses=topology.host("proxy1").addresses(),
                )
            )
        return found[0], found[1]

    def names_outside_the_proxy(self) -> int:
        """Packets with the name that left the client after it went through the proxy, whomever to."""
        topology = standard()
        clients, proxies = topology.host("client").addresses(), topology.host("proxy1").addresses()
        labels = b"".join(bytes([len(label)]) + label for label in ORIGIN_NAME.encode().split(b"."))
        since = self.proxied_since
        assert since is not None
        return sum(
            packet.t >= 0
            and packet.source[0] in clients
            and packet.destination[0] not in proxies
            and any(form in packet.payload.lower() for form in (ORIGIN_NAME.encode(), labels))
            for packet in read_packets(self.folder / "client-home.pcap", start=since)
        )


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    folder = tmp_path / "packets"
    began = time.time()
    command = [sys.executable, "-m", "sidedoor", "lab", "up", "--name", NAME, "--capture", str(folder)]
    up = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert up.returncode == 0, up.stderr
    lab = Lab.find(NAME)
    yield Watched(lab, folder, began)
    if lab.folder.exists():
        lab.down()


def apply(lab: Lab, rules: Path) -> None:
    lab.apply(rules.read_text(), origin=str(rules))


@pytest.mark.programs("curl")
def test_curl(watched: Watched) -> None:
    def curl(*options: str) -> tuple[int, str]:
        done = watched.run("curl", "-sS", "--max-time", "4", *options, ORIGIN)
        return done.returncode, done.stdout

    status, page = curl()
    assert (status, page != "") == (0, True)
    apply(watched.lab, DOMAIN_RULES)
    assert curl() == (CURL_UNRESOLVED, "")
    assert curl("--resolve", f"{ORIGIN_NAME}:443:203.0.113.10") == (CURL_CONNECT_ERROR, "")
    apply(watched.lab, ADDRESS_RULES)
    assert curl() == (CURL_TIMEOUT, "")
    watched.from_now_on_proxied()
    for rules in (DOMAIN_RULES, ADDRESS_RULES):
        apply(watched.lab, rules)
        assert curl("--proxy", f"socks5h://{watched.proxy}") == (0, page)
    before, since = watched.leaks()
    assert before.packets
    assert (since.packets, since.reset_answers) == (0, 0), since.examples


@pytest.mark.programs("curl")
def test_curl_that_resolves_by_itself_is_caught(watched: Watched) -> None:
    """`socks5://` without the h: the connection goes through the proxy; the look-up, which has the name, does not."""
    watched.from_now_on_proxied()
    done = watched.run("curl", "-sS", "--max-time", "4", "-4", "--proxy", f"socks5://{watched.proxy}", ORIGIN)
    assert done.returncode == 0, done.stderr
    _, since = watched.leaks()
    assert since.packets
    assert all("udp" in example and "198.18.0.53:53" in example for example in since.examples)


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
    # It has many names of its own to ask about.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {ORIGIN_NAME}, EXCLUDE 198.51.100.11",
)
# Else it asks 8.8.8.8 whether the resolver lies, when a name cannot be resolved.
CHROMIUM_PREFERENCES = '{"alternate_error_pages": {"enabled": false}}'


@pytest.mark.programs("chromium", "curl")
def test_chromium(watched: Watched, tmp_path: Path) -> None:
    def chromium(number: int, *options: str) -> str:
        home = tmp_path / f"home{number}"
        (home / "profile/Default").mkdir(parents=True)
        (home / "profile/Default/Preferences").write_text(CHROMIUM_PREFERENCES)
        places = [f"{variable}={home}" for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR")]
        command = ["chromium", "--headless", *QUIET, *options, f"--user-data-dir={home}/profile", "--dump-dom", ORIGIN]
        done = watched.run("env", *places, *command)
        return done.stdout + done.stderr

    page = watched.run("curl", "-sS", "--max-time", "4", ORIGIN).stdout.strip()
    assert page
    assert page in chromium(1)
    apply(watched.lab, DOMAIN_RULES)
    assert "ERR_NAME_NOT_RESOLVED" in chromium(2)
    assert "ERR_CONNECTION_RESET" in chromium(3, f"--host-resolver-rules=MAP {ORIGIN_NAME} 203.0.113.10")
    apply(watched.lab, ADDRESS_RULES)
    assert page not in chromium(4)  # it still waits when its time is up
    watched.from_now_on_proxied()
    for number, rules in ((5, DOMAIN_RULES), (6, ADDRESS_RULES)):
        apply(watched.lab, rules)
        assert page in chromium(number, f"--proxy-server=socks5://{watched.proxy}")  # which is curl's socks5h
    before, since = watched.leaks()
    assert before.packets
    assert (since.packets, since.reset_answers) == (0, 0), since.examples


PROSODY = """
run_as_root = true -- in a namespace of an ordinary user everybody is root
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
interfaces = {{ "*", "::" }}
modules_enabled = {{ "saslauth", "tls", "smacks", "roster", "disco" }}
modules_disabled = {{ "s2s", "posix" }}
authentication = "internal_plain"
c2s_require_encryption = true
smacks_hibernation_time = 60
VirtualHost "{name}"
  ssl = {{ certificate = "{state}/origin.pem", key = "{state}/origin.key" }}
"""


@pytest.mark.programs("prosody")
def test_slixmpp_and_prosody(watched: Watched, tmp_path: Path) -> None:
    """What alice says while she is blocked arrives once, after she has come back through the proxy."""
    lab, folder = watched.lab, tmp_path / "prosody"
    configuration = tmp_path / "prosody.cfg.lua"
    configuration.write_text(PROSODY.format(folder=folder, name=ORIGIN_NAME, state=lab.folder))
    folder.mkdir()
    for account in ("alice", "bob"):
        command = ["prosodyctl", "--config", str(configuration), "register", account, ORIGIN_NAME, "secret"]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS)

    def peer(host: str, account: str) -> Program:
        program = str(Path(__file__).with_name("xmpp_peer.py"))
        return Program(
            lab, host, sys.executable, program, f"{account}@{ORIGIN_NAME}", "secret", lab.status()["ca_file"]
        )

    with (
        Program(lab, "messenger", "prosody", "--config", str(configuration)) as server,
        peer("client", "alice") as alice,
        peer("receiver", "bob") as bob,
    ):
        assert server.until("portmanager")
        for one in (bob, alice):
            one.tell("connect")
            assert one.until("session") == "session new"
        alice.tell(f"send bob@{ORIGIN_NAME} all is well")
        assert bob.until("message") == f"message alice@{ORIGIN_NAME} all is well"
        bob.tell(f"send alice@{ORIGIN_NAME} here, too")
        assert alice.until("message") == f"message bob@{ORIGIN_NAME} here, too"

        apply(lab, ADDRESS_RULES)
        alice.tell(f"send bob@{ORIGIN_NAME} into the block")
        with peer("client", "alice") as another:
            another.tell("connect")
            assert another.until("session", "failed", within_seconds=4) is None, "silence"
        apply(lab, DOMAIN_RULES)
        with peer("client", "alice") as another:
            another.tell("connect")
            assert "No DNS record" in str(another.until("session", "failed"))

        watched.from_now_on_proxied()
        alice.tell(f"proxy {watched.proxy}")
        assert alice.until("session") == "session resumed"
        assert bob.until("message") == f"message alice@{ORIGIN_NAME} into the block"
        bob.tell(f"send alice@{ORIGIN_NAME} got it")
        assert alice.until("message") == f"message bob@{ORIGIN_NAME} got it"
        apply(lab, ADDRESS_RULES)
        alice.tell(f"send bob@{ORIGIN_NAME} once more")
        assert bob.until("message") == f"message alice@{ORIGIN_NAME} once more", "and nothing twice before it"
    before, _ = watched.leaks()
    assert before.packets
    assert watched.names_outside_the_proxy() == 0
