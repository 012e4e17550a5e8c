"""The proxy: SOCKS5, SOCKS4 and 4a, HTTP CONNECT. A client's way through it, module by module:

- `listeners`: binds, accepts, survives running out of descriptors; `entrance`: what a listening address asks of a
  client first: a load balancer's header, TLS (`tls`);
- `session`: one object per client until its flow stands: reads, answers, hands over; no task but for names;
- `admission`: of too many handshakes at once, the one that goes;
- `handshake/`: what the bytes mean and what to answer, sans-IO, the rules of each protocol in one table; `wire/`: the
  byte formats;
- `auth`: user and password; `hashing`, `turns`: Argon2 on threads, sources in turn; `backoff`: for those who guess;
- `accounts`: what a user may have and use, counted in `ledger`, which all workers share;
- `policy/`: who may go where, and what is inside;
- `connect`, `bind`, `associate`: the three commands; `association`: UDP's datagrams, `reassembly` their fragments;
- `resolver/`: names; `dial`: connecting, and the table errno -> REP; `eyeballs`: of several addresses, which when;
  `upstream`: going through another proxy;
- `relay/`: the hot path, from there until both connections are closed;
- `flows`: what is known about each flow; `metrics`, `exposition`: what is counted, and Prometheus' words for it;
  `access`: the access log; `log`: the log;
- `server`: puts these together: `serve(settings, emit)` runs until it is cancelled, can be reloaded and drained;
- `service`: the process or processes of a proxy and their signals; `workers`: the supervisor, which starts one again
  when it dies; `control`, `admin`, `admin_socket`: how somebody asks them all something;
- `systemd`: its sockets, notifications and watchdog; `deploy/`: units, an example of every setting, fail2ban, Grafana;
- `settings`: what can be set; `schema`: the same for editors; `cli`: the command `sidedoor proxy`.
"""
