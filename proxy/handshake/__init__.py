"""The server's side of the handshake: SOCKS5, SOCKS4 and 4a, HTTP CONNECT, all on one port. Sans-IO.

Bytes in, events and bytes to send out:

- `handshake`: `Handshake`, what the driver has: looks at the first byte and leaves the rest to one of
- `socks5`, `socks4`, `http`: each a `Machine` with all that may happen in one table, and what it answers;
- `machine`: what those have in common: the buffers, the states, the step from one to the next;
- `events`: what the driver is told.

The driver's loop: `receive(data)`; take events with `next_event()` until it returns None; send `data_to_send()`;
read more. It answers

- `CredentialsPresented` with `verdict()`;
- `Requested` with `succeed()` or `fail()`, and for BIND before that `listening()`, when it has an address for the peer;
- `Refused` with nothing: it sends what there is and closes.

What the client pipelined behind its request is `early_data()`, to be forwarded first, and once.
"""

from proxy.handshake.events import CredentialsPresented, Event, Refused, Requested
from proxy.handshake.handshake import Handshake
from proxy.handshake.machine import Machine

__all__ = ["CredentialsPresented", "Event", "Handshake", "Machine", "Refused", "Requested"]
