"""Conformance: SOCKS servers judged from outside, by what they send and do.

- `case`: what a case is: what is sent, what is right, and a function that tries it; `outcome`: how one can end;
- `cases/`: all of them, a file for each topic; to add one, write it there and add it to the file's CASES;
- `stage`: what a case plays on: connections to the server, targets behind it, everything bounded in time;
- `dialogue`: the turns that many cases begin with; `transfer`: bulk in several directions at once;
- `messages`: the client's bytes and the server's, sans-IO, written apart from `proxy.wire`: a judge shares no code with
  whom he judges;
- `runner`: which peers with which cases, one after the other; a peer that crashed is started anew;
- `matrix`: the outcomes and their JSON; `table`: for a terminal; `markdown`: docs/conformance.md;
- `versions`: what the peers are.
"""
