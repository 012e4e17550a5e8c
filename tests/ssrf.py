"""Destinations that a stranger must not reach through the proxy, in the spellings that have got past other guards.

Each is the host of a request as a client writes it, with the reason why it is inside. Those that are no IP literals are
names to SOCKS: the system's look-up turns most of them into the address that they spell. A guarded proxy answers all
of them with REP 02, whatever its resolver does.
"""

from __future__ import annotations

INSIDE: list[tuple[str, str]] = [
    # IPv4 literals
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback: all of 127.0.0.0/8"),
    ("0.0.0.0", "this network: Linux connects to the loopback"),
    ("0.1.2.3", "this network"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "cloud metadata"),
    ("169.254.170.2", "container credentials"),
    ("100.100.100.200", "cloud metadata"),
    ("192.0.0.192", "cloud metadata"),
    ("168.63.129.16", "wire server of a cloud"),
    ("192.0.0.8", "protocol assignments"),
    ("224.0.0.1", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "limited broadcast"),
    # IPv6 literals
    ("::", "unspecified: Linux connects to the loopback"),
    ("::1", "loopback"),
    ("0:0:0:0:0:0:0:1", "loopback, in full"),
    ("[::1]", "loopback, in brackets"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "cloud metadata"),
    ("fd20:ce::254", "cloud metadata"),
    ("fe80::1", "link-local"),
    ("fe80::1%lo", "link-local, with a zone"),
    ("[fe80::1%lo]", "link-local, with a zone and brackets"),
    ("::1%lo", "loopback, with a zone"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    # IPv6 that stands for IPv4
    ("::ffff:127.0.0.1", "IPv4-mapped loopback"),
    ("::ffff:7f00:1", "IPv4-mapped loopback, in hexadecimal"),
    ("[::ffff:169.254.169.254]", "IPv4-mapped metadata"),
    ("::127.0.0.1", "IPv4-compatible loopback"),
    ("::ffff:0:127.0.0.1", "IPv4-translated loopback"),
    ("64:ff9b::127.0.0.1", "loopback through NAT64"),
    ("64:ff9b::a9fe:a9fe", "metadata through NAT64"),
    ("64:ff9b:1::10.0.0.1", "local NAT64"),
    ("2002:7f00:1::", "6to4 of the loopback"),
    ("2002:c0a8:1:1234::5", "6to4 of a private address"),
    ("2001:0:7f00:1::", "Teredo, server on the loopback"),
    ("2001:0:cb00:7101::f5ff:fffe", "Teredo, client 10.0.0.1, inverted"),
    ("2001:db8::5efe:10.0.0.1", "ISATAP of a private address"),
    ("2001:db8::200:5efe:127.0.0.1", "ISATAP of the loopback, with the universal bit"),
    # names to SOCKS, addresses to inet_aton
    ("2130706433", "loopback as one number"),
    ("0x7f000001", "loopback as one number, hexadecimal"),
    ("017700000001", "loopback as one number, octal"),
    ("127.1", "loopback as two numbers"),
    ("127.0.1", "loopback as three numbers"),
    ("0x7f.1", "loopback, hexadecimal and decimal"),
    ("0X7F.0.0.0X1", "loopback, upper case"),
    ("0177.0.0.1", "loopback, octal"),
    ("00000000177.1", "loopback, octal, more zeros"),
    ("0", "this network as one number"),
    ("0xa9fea9fe", "metadata as one number"),
    ("10.1", "private as two numbers"),
    ("127.0.0.1.", "loopback, trailing dot"),
    # names to SOCKS, ASCII to IDNA
    ("\uff11\uff12\uff17.\uff10.\uff10.\uff11", "loopback in full-width digits"),
    ("\u2460\u2461\u2466.\u24ea.0.1", "loopback in circled digits"),
    ("127\u30020\u30020\u30021", "loopback with ideographic full stops"),
    ("\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54", "localhost in full-width letters"),
    # names that are the loopback
    ("localhost", "loopback by name"),
    ("LocalHost", "loopback by name"),
    ("localhost.", "loopback by name, trailing dot"),
    ("any.localhost", "loopback by name (RFC 6761)"),
]

OUTSIDE: list[str] = [
    "192.0.2.1",  # documentation: labs live there
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",  # benchmarks
    "198.19.255.255",
    "2001:db8::1",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "223.255.255.255",
    "::ffff:192.0.2.1",
    "::192.0.2.1",
    "::ffff:0:192.0.2.1",
    "64:ff9b::192.0.2.1",
    "2002:c000:201::1",
    "2001:0:c000:201::3fff:fdfe",  # Teredo of 192.0.2.1 by 192.0.2.1
    "2001:db8::5efe:192.0.2.1",
    "2606:4700:4700::1111",
    "fbff:ffff::1",
]
"""Addresses that a guard must not take for inside, many of them next to what is."""
