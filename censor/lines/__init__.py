"""From packet queues to cores and back.

- `line`: one queue and the core that judges what comes out of it.
- `local`: what the censor asks of its lines (`Lines`), and the one line of this very process.
- `workers`: several, each in a process of its own: `worker_process` starts it, `worker` is what runs in it, and they
  talk in `messages` (sans-IO) over a `channel`.
"""
