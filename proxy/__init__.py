"""The SOCKS5 proxy. A client's way through it, module by module:

- `listeners`: binds, accepts, survives running out of descriptors;
- `session`: one object per client until its flow stands: reads, answers, dials, hands over; no task but for names;
- `handshake`: what the bytes mean and what to answer, sans-IO, its rules in one table; `wire/`: the byte format;
- `auth`: user and password; `resolver`: names; `dial`: connecting, and the table errno -> REP;
- `relay/`: the hot path, from there until both connections are closed;
- `server`: puts these together: `serve(settings, emit)` runs until it is cancelled;
- `workers`: several such processes on one port, and the supervisor that starts one again when it dies;
- `systemd`: sockets and notifications of a service; `deploy/`: unit files and an example of the settings;
- `log`: its log lines; `settings`: what can be set; `schema`: the same, for editors; `cli`: `sidedoor proxy`.
"""
