"""The test messenger: two ends that exchange numbered messages through an origin, and go on when a path is blocked.

- `client.messages`: the records the three speak over WebSocket (Sans-IO).
- `client.delivery`: the sender's `Outbox` and the receiver's `Inbox`: every message shown once, in order (Sans-IO).
- `client.encryption`, `client.keys`: what only the two ends can read (Sans-IO), and the file with an end's key.
- `client.attachments`: files, in pieces, in a lane of their own. `client.state`: what survives a crash, in SQLite.
- `client.lanes`: all that the sender has to send; `client.inboxes`: all that the receiver gets.
- `client.switchboard`, `client.origin`: who gets which record; the TLS server around it.
- `client.policies`: which path messages take; observations in, commands out (Sans-IO).
- `client.routes`: how a path is dialed: direct, or through a SOCKS5 proxy.
- `client.proxy_list`: signed lists of further routes (Sans-IO); `client.list_shelf` passes them on,
  `client.list_keeper` keeps the newest, `client.route_table` makes routes of it.
- `client.memory`, `client.network`: what worked on which network (Sans-IO); `client.surroundings` drives them.
- `client.driver` does what the policy orders; `client.line`: one connection; `client.greetings`: who gets what comes
  in.
- `client.sender`, `client.receiver`: the two ends; `client.messenger`: both in one; `client.settings` for all of them.
- `client.status`: how a sender's connection is, in one line; `client.probe`, `client.verdicts`: each route, once.
- `client.chat`: a chat in a terminal.
- `client.certificates`: a CA and leaves for the origin.
- `client.cli`, `client.person_cli`: `sidedoor client ...`; `client.command_line` what the commands share,
  `client.options` their settings, `client.option_names` how mistakes call these, `client.narration` what they say,
  `client.printable` what a terminal may get of that, and `client.standard_input` what they read.

docs/client.md tells the story.
"""
