"""Two ends and a router that delays, each a namespace; what the wan link does to packets, as one JSON object on stdout.

Run inside namespaces of its own (lab.machine.sandbox): `python -m tests.lab.link_network DELAY_SECONDS`, or with
JITTER_SECONDS and LOSS behind it: then what these do is measured, over IPv4 and IPv6.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from lab.link import LinkSettings, run_link

PORT = 7007
ROUND_TRIPS, DATAGRAMS = 100, 2000
SERVER = {4: "203.0.113.10", 6: "2001:db8:2::10"}
SHELL = """
mount -t tmpfs tmpfs /run; mkdir /run/netns
for host in left right router; do
  ip netns add $host; ip -n $host link set lo up
  # A router whose link-local address is still tentative sends no neighbour solicitation for what it forwards.
  ip netns exec $host sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
done
ip link add left0 netns left type veth peer name left1 netns router
ip link add right0 netns right type veth peer name right1 netns router
ip -n left addr add 192.0.2.10/24 dev left0; ip -n router addr add 192.0.2.1/24 dev left1
ip -n right addr add 203.0.113.10/24 dev right0; ip -n router addr add 203.0.113.1/24 dev right1
ip -n left addr add 2001:db8:1::10/64 dev left0 nodad; ip -n router addr add 2001:db8:1::1/64 dev left1 nodad
ip -n right addr add 2001:db8:2::10/64 dev right0 nodad; ip -n router addr add 2001:db8:2::1/64 dev right1 nodad
ip -n left link set left0 up; ip -n router link set left1 up
ip -n right link set right0 up; ip -n router link set right1 up
ip -n left route add default via 192.0.2.1; ip -n left route add default via 2001:db8:1::1
ip -n right route add default via 203.0.113.1; ip -n right route add default via 2001:db8:2::1
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
for host in left right; do for buffer in rmem wmem; do
  ip netns exec $host sh -c "echo 4096 131072 33554432 >/proc/sys/net/ipv4/tcp_$buffer"
done; done
"""


def on(host: str, *arguments: str) -> list[str]:
    return ["ip", "netns", "exec", host, *arguments]


def self_on(host: str, *arguments: str) -> subprocess.Popen[str]:
    command = on(host, sys.executable, "-m", "tests.lab.link_network", *arguments)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> Any:
    """The process's next line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args!r} ended with {process.wait()}"
    return json.loads(line)


def end(process: subprocess.Popen[str]) -> int:
    """Close its stdin, which is the sign to stop; its exit status."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(timeout=10)


def echo() -> None:
    """Return every datagram, until stdin ends."""
    sockets = [_bound(socket.AF_INET, "0.0.0.0"), _bound(socket.AF_INET6, "::")]
    print("true", flush=True)
    while True:
        readable, _, _ = select.select([*sockets, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        for ready in readable:
            data, sender = ready.recvfrom(2048)
            ready.sendto(data, sender)


def _bound(family: socket.AddressFamily, address: str) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    bound.bind((address, PORT))
    return bound


def measure() -> None:
    """Round trips one at a time, then numbered datagrams at once, over both families."""
    print(json.dumps({str(version): _measure(version) for version in SERVER}), flush=True)


def _measure(version: int) -> dict[str, Any]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect((SERVER[version], PORT))
        sender.settimeout(2.0)
        round_trips = []
        for _ in range(30):
            before = time.monotonic()
            sender.send(b"x")
            sender.recv(2048)
            round_trips.append(time.monotonic() - before)
        for number in range(100):
            sender.send(number.to_bytes(4, "big"))
        numbers = [int.from_bytes(sender.recv(2048), "big") for _ in range(100)]
    return {"round_trip_seconds": statistics.median(round_trips), "in_order": numbers == list(range(100))}


def sample() -> None:
    """Round trips one at a time; then numbered datagrams, a millisecond apart: which of them came back, in order?"""
    print(json.dumps({str(version): _sample(version) for version in SERVER}), flush=True)


def _sample(version: int) -> dict[str, Any]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect((SERVER[version], PORT))
        sender.settimeout(0.2)
        round_trips = []
        for number in range(ROUND_TRIPS):
            before = time.monotonic()
            sender.send(number.to_bytes(4, "big"))
            with contextlib.suppress(TimeoutError):
                while int.from_bytes(sender.recv(2048), "big") != number:
                    pass
                round_trips.append(time.monotonic() - before)
        numbers = []
        began = time.monotonic()
        for number in range(DATAGRAMS):
            sender.send(number.to_bytes(4, "big"))
            while (left := began + number / 1000 - time.monotonic()) > 0:
                if select.select([sender], [], [], left)[0]:
                    numbers.append(int.from_bytes(sender.recv(2048), "big"))
        with contextlib.suppress(TimeoutError):
            while True:
                numbers.append(int.from_bytes(sender.recv(2048), "big"))
    return {"round_trip_seconds": round_trips, "returned": len(numbers), "in_order": numbers == sorted(numbers)}


def link(delay_seconds: float, jitter_seconds: float = 0.0, loss: float = 0.0) -> None:
    """The wan link, until stdin ends."""
    settings = LinkSettings(delay_seconds=delay_seconds, jitter_seconds=jitter_seconds, loss=loss)
    run_link(settings, lambda mode: print(json.dumps(mode), flush=True), 0)


def throughput(version: int) -> float | None:
    """Bits per second of one TCP connection by iperf3; None without iperf3."""
    if not shutil.which("iperf3"):
        return None
    server = subprocess.Popen(
        on("right", "iperf3", "--server", "--one-off", "--forceflush"), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    while "listening" not in server.stdout.readline():
        assert server.poll() is None
    client = on("left", "iperf3", "--client", SERVER[version], "--time", "2", "--json")
    done = subprocess.run(client, capture_output=True, text=True, timeout=20)
    server.communicate(timeout=10)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])


def rules() -> str:
    return subprocess.run(on("router", "iptables-save"), capture_output=True, text=True, check=True).stdout


def draw(*settings: str) -> dict[str, Any]:
    """What a link with jitter and loss does."""
    subprocess.run(["sh", "-euc", SHELL], check=True)
    echoing = self_on("right", "echo")
    answer(echoing)
    linking = self_on("router", "link", *settings)
    mode = answer(linking)
    found = answer(self_on("left", "sample"))
    bits = throughput(4)
    result: dict[str, Any] = found | {"mode": mode, "bits_per_second": bits, "status": end(linking) or end(echoing)}
    return result


def run(delay_seconds: str) -> dict[str, Any]:
    subprocess.run(["sh", "-euc", SHELL], check=True)
    echoing = self_on("right", "echo")
    answer(echoing)
    plain = answer(self_on("left", "measure"))
    linking = self_on("router", "link", delay_seconds)
    mode = answer(linking)
    delayed = answer(self_on("left", "measure"))
    bits = {str(version): throughput(version) for version in SERVER}
    status = end(linking)
    after = answer(self_on("left", "measure"))
    end(echoing)
    return {
        "mode": mode,
        "plain": plain,
        "delayed": delayed,
        "after": after,
        "bits_per_second": bits,
        "status": status,
        "rule_left": "NFQUEUE" in rules(),
    }


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    match sys.argv[1:]:
        case ["echo"]:
            echo()
        case ["measure"]:
            measure()
        case ["sample"]:
            sample()
        case ["link", *settings]:
            link(*map(float, settings))
        case [_, _, _]:
            print(json.dumps(draw(*sys.argv[1:])))
        case [delay]:
            print(json.dumps(run(delay)))
