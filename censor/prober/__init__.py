"""The active prober: who looked like a proxy is connected to and asked, as a censor does before it blocks a server.

- `censor.prober.settings`: what can be set, the TOML table `[prober]`, each default with its source.
- `censor.prober.suspicion` (sans-IO): bounded memory of the servers that looked like proxies.
- `censor.prober.delays` (sans-IO): how long the censor takes until it probes; draws that do not depend on call order.
- `censor.prober.probes` (sans-IO): what is said to the server; `client_hello`: in TLS.
- `censor.prober.results` (sans-IO): what came of it, and what that is evidence of.
- `censor.prober.schedule` (sans-IO): which probe goes where at which time, and the verdict.
- `censor.prober.connection`: one probe over one TCP connection.
- `censor.prober.prober`: drives these; the packet loop tells it of suspects, it tells of verdicts.
- `censor.prober.cli`: `sidedoor censor probe`, how a server looks to a prober.

docs/censor-probing.md is the reference.
"""
