"""What users of Sidedoor type and import, and what its four parts share.

- `sidedoor.cli`: the console script; `sidedoor.root`: its command, which loads a part only when that is called.
- `sidedoor.api`: control a running lab from a program, over the lab's Unix socket.
- `sidedoor.settings`: TOML files to frozen, validated types; every mistake names file and key.
- `sidedoor.events`: the events that all parts report, and the JSON lines they become.
- `sidedoor.logs`: structured logs on stderr.

The parts themselves are the top-level packages `proxy`, `client`, `censor` and `lab`; nothing here imports them
but `sidedoor.root`, and that lazily.
"""

__version__ = "0.1.0"
