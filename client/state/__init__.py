"""State files: what an end knows across its lives, in SQLite.

- `client.state.file`: one file for one process: lock, format, transactions, checkpoints.
- `client.state.sending`: the sender's queue: messages and attachments without an ack, and their sessions.
- `client.state.receiving`: the receiver's sessions, and what its application has not confirmed yet.

Without a file the same tables are in memory. What is committed survives SIGKILL; a commit is not followed by a wait for
the disk (synchronous = NORMAL), so that after a power failure the last seconds may be missing (see `sending`).
"""
