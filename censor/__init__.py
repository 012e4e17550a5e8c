"""The simulated censor: a box in the path or beside it. Packets in; verdicts, forged packets and events out.

What it acts on and how:
- `rules`, `actions`, `censor_table`: the types of a rules file; `rules_file` reads it; `profiles` are shipped ones.
- `conditions` (sans-IO): the language of `when`; `properties`: what it asks about; `lists`: block lists.
- `compiled` (sans-IO): rules made ready for judging; `explanation`: in words.

Judging (sans-IO), the same for packets from the kernel and from a file:
- `core`: the decision on each packet; `decision`: what is to be done; `flows`, `residual`: its memory.
- `inspection`: a flow's bytes, put together by `streams`, read by `analyzers` into properties; `fragments`.
- `acting`, `effects`, `policing`, `draws`: what a rule that matches does; `statistics`: what it came to.
- `packets`: headers in, forged segments and datagrams out; `block_page`.
- `replay`: all of this on a capture.

On a host:
- `censor`: wires everything; `lines`: packet queues with their cores, in this process or several.
- `packet_io`: NFQUEUE (held for a verdict), NFLOG (copies of what the kernel dropped), nft sets, captures, injection.
- `offload` (sans-IO): what of the rules the kernel does by itself; `kernel` puts it there and takes it away.
- `prober`: asks suspected proxies what they are.
- `cli`, `commands`: the command line.

docs/censor.md draws how it sits in the kernel and says what to read next.
"""
