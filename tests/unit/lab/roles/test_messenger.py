"""What the sender's role reads about its host."""

from __future__ import annotations

from lab.roles.messenger import established, interface_bytes

DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 9999999 10 0 0 0 0 0 0 9999999 10 0 0 0 0 0 0
  home:    1200 12 0 0 0 0 0 0     345  6 0 0 0 0 0 0
"""

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 650200C0:A0AE 0B3364C6:0438 01 00000000:00000000 02:0000009D 00000000     0        0 70063 2 0000000000000000
   1: 650200C0:A0AF 0C3364C6:0438 06 00000000:00000000 02:0000009D 00000000     0        0 70064 2 0000000000000000
   2: 650200C0:A0B0 0A7100CB:01BB 01 00000000:00000000 02:0000009D 00000000     0        0 70065 2 0000000000000000
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: B80D01200100000000000000650000:9C40 B80D01200200000000000000100000:01BB 01 00000000:00000000 02:0000009D
"""


def test_bytes_of_all_interfaces_but_the_loopback() -> None:
    assert interface_bytes(DEV) == 1545


def test_established_connections_by_remote_port() -> None:
    assert established(TCP, TCP6) == {"1080": 1, "443": 2}
    assert established() == {}
