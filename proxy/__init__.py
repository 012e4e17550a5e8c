"""The proxy. A client's way through it, module by module:

- `listeners`: binds, accepts, survives running out of descriptors;
- `session`: one object per client until its flow stands: reads, answers, dials, hands over; no task but for names;
- `handshake/`: what the bytes mean and what to answer, in SOCKS5, SOCKS4 and HTTP, sans-IO; `wire/`: the byte formats;
- `auth`: user and password; `resolver`: names; `dial`: connecting, and the table errno -> REP;
- `reassembly`: fragments of UDP datagrams;
- `relay/`: the hot path, from there until both connections are closed;
- `server`: puts these together: `serve(settings, emit)` runs until it is cancelled;
- `workers`: several such processes on one port, and the supervisor that starts one again when it dies;
- `log`: its log lines; `settings`: what can be set; `cli`: the command `sidedoor proxy`.
"""
