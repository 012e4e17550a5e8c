"""Sans-IO: how the censor divides the 32 bits of packet mark and connmark on its host.

| bits  | packet mark                                          | connmark                       |
|-------|------------------------------------------------------|--------------------------------|
| 0-22  | as the connmark was, or as the verdict says          | generation                     |
| 23    | as the connmark was, or as the verdict says          | only new payload is queued     |
| 24    | as the connmark was, or as the verdict says          | every packet is to be queued   |
| 25    | goes against the direction that the flow began in    |                                |
| 26    | save the mark, then drop                             |                                |
| 27    | came while the censor lived                          |                                |
| 28    | this packet is to be queued                          |                                |
| 29-30 | forged by the censor                                 |                                |
| 31    | beside bit 28: no packet that opens its flow         |                                |
"""

GENERATION_MASK = 0x007FFFFF
"""The generation in which a flow was decided or, with HEARD, looked at last; 0: never."""

HEARD = 0x00800000
"""Beside a generation: the flow is not decided, but of its TCP segments only the client's with payload tell more."""

WATCH = 0x01000000
"""All packets of the flow are queued, in both directions and whatever its generation is."""

SAVED_MASK = GENERATION_MASK | HEARD | WATCH
"""What a verdict's mark leaves on the flow."""

REPLY = 0x02000000
"""On a queued packet: it goes to the side that opened the flow, as conntrack saw it."""

SAVE_AND_DROP = 0x04000000
"""With a verdict REPEAT: the mark is saved to the flow and the packet dropped."""

DROP_AND_WATCH = SAVE_AND_DROP | WATCH
"""To be given with a verdict REPEAT, because a dropped packet's mark is never saved. A flow whose very first packet is
dropped is not remembered by conntrack: its next packet is a first one again."""

ALIVE = 0x08000000
"""On every forwarded packet while the censor that is strict lives."""

ASK = 0x10000000
"""On packets of undecided flows that are queued for what they are (residual blocks, fragments), not for their ports."""

INJECTED_MASK = 0x60000000
INJECTED_MARK = 0x60000000
"""On packets that the censor forged."""

CONFIRMED = 0x80000000
"""On a packet with ASK: an earlier one of its flow has left this host, as conntrack saw it. The core cannot know: of a
flow that no rule is about, it has seen none."""
