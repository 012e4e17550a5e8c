"""Who may go where. Sans-IO: settings and strings in, verdicts out.

- `rules`: `Policy`, the rules of the settings compiled once; `Verdict`, what it says about a request or an address;
- `entries`: what stands in rules, checked and parsed;
- `inside`: the guard's table: loopback, private, link-local and special addresses, and IPv6 that stands for them;
- `names`: names as rules compare them, and names that are addresses in disguise;
- `networks`: which of many networks an address is in.

A name is judged twice: as it stands in the request, and, where that does not settle it, by each address that it
resolved to. The connection has to go to an address that was judged, not to the name again.
"""

from __future__ import annotations

from proxy.policy.inside import inside
from proxy.policy.rules import Policy, Verdict

__all__ = ["Policy", "Verdict", "inside"]
