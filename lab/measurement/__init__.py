"""From what a run left behind to numbers that can be trusted.

- `episodes`: each block's times (t0, detection, switch, recovery, outage, failback) out of the events. Sans-IO.
- `diagnoses`: what the client made of each block, and the censor's own word. Sans-IO.
- `accounts`: the run's messages, cost and collateral out of the events. Sans-IO.
- `leaks`: packets that went to the messenger, past the proxy, after the switch. From the captures.
- `summary`: the types of summary.json, and `summarize` over the runs of a scenario.
- `distributions`: percentiles and intervals of data that may be right-censored.
- `from_captures`: t0, tts and ttr once more, from the captures alone: never trust one observer.
- `packets`, `streams`, `tls_records`, `websocket_frames`: what that needs, bottom up.
"""
