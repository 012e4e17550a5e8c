"""The kernel's share of the work in this network namespace, put there and taken away again.

- `kernel`: what is in force, and the way there: `programs` runs nft and iptables, sets are filled over netlink.
- `queueing`, `addresses`, `residual_sets` (sans-IO): the scripts: which packets come to Python, blocks of addresses,
  sets of residual blocks.
- `residual_blocks`: keeps those sets in step with the core's memory.
- `marks` (sans-IO): the bits of packet mark and connmark.
- `dead_hand`: takes address blocks out when the censor dies and is to fail open.
"""
