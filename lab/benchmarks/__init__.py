"""Benchmarks: commands that measure the parts beside others of their kind. Never timed tests.

- `cli`: `sidedoor bench ...`, the tables;
- `relay`: relay throughput: workloads, interleaved rounds, medians and ratios;
- `peers`: the proxies that are compared, how they are started, what CPU time they use;
- `generator`: the load, and `load.c` / `load.py`, which make it.
"""
