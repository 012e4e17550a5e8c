"""What a process in the lab can be: thin adapters from the control line to the parts.

Each kind is a coroutine `role(settings, control)`: `settings` is the plain dict that the lab sent, `control` takes
events (`control.emit`) and command handlers (`control.on`). It announces with the event `role_ready` that it serves,
and runs until it is cancelled.
"""

# kind -> module:function; imported when the role starts (the netns runtime warms them all before it forks).
KINDS = {
    "bridge": "lab.roles.messenger:run_bridge",
    "bystander": "lab.roles.bystander:run",
    "capture": "lab.roles.capture:run",
    "censor": "lab.roles.censor:run",
    "dns": "lab.roles.dns:run",
    "foreign_censor": "lab.roles.foreign_censor:run",
    "link": "lab.roles.link:run",
    "origin": "lab.roles.messenger:run_origin",
    "proxy": "lab.roles.proxy:run",
    "receiver": "lab.roles.messenger:run_receiver_role",
    "sender": "lab.roles.messenger:run_sender",
    "web": "lab.roles.web:run",
}

# The roles of a run, as scenarios and events name them.
ROLE_NAMES = frozenset(
    {"bridge", "bystander", "censor", "client", "dns", "link", "origin", "proxy1", "proxy2", "receiver", "web"}
)
