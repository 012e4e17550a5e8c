"""The simulated censor: an on-path box. Packets in; verdicts, forged packets and events out.

- `censor.rules`: what it acts on and how, read from TOML.
- `censor.core` (sans-IO): the decision on each packet; `censor.flows` and `censor.reassembly` are its memory.
- `censor.analyzers` (sans-IO): properties out of payloads: the name in a DNS query, in a TLS ClientHello.
- `censor.packets` (sans-IO): headers in, forged segments and datagrams out; `censor.injection` sends them.
- `censor.packet_io`: where packets come from: NFQUEUE (held for a verdict), NFLOG (copies of dropped ones).
- `censor.kernel`, `censor.kernel_rules`: the part of the work that the kernel does itself; `censor.dead_hand` ends it
  when the censor dies and is to fail open.
- `censor.censor`: wires all of these; `censor.cli`: the command line.

docs/censor.md has the rules' reference and draws how it sits in the kernel.
"""
