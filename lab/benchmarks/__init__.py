"""Benchmarks: commands that measure the parts beside others of their kind. Never timed tests.

- `cli`: `sidedoor bench ...`;
- `relay`: which workloads with which peers, interleaved rounds;
- `workloads`: what is measured, one call each; `iperf`: the method that others publish;
- `peers`: the proxies that are compared, how they are found and started;
- `generator`: the load, and `load.c` / `load.py`, which make it;
- `block_list`: block lists of a given size;
- `processes`: start and end, CPU time and memory of processes;
- `censor/`: what a censor on the path costs, in namespaces of its own;
- `output`: the files that are written;
- `conformance/`: SOCKS servers judged from outside, case by case;
- `results`, `table`, `plot`: medians and ratios, as JSON, for a terminal, as a picture; `goals`: what is asked of them.
"""
