"""What a lab is started for: the arguments of its entry, as they cross from the command into the lab's process."""

from __future__ import annotations

import msgspec


class ExperimentPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `lab.experiment.run`: a scenario's folder, the run folder, and how often with which seeds."""

    scenario: str
    out: str
    seed: int
    """Of the first repeat; each further one adds 1."""
    repeat: int
    timeout_seconds: float | None = None
    """For one repeat; None: what the scenario says."""
    json: bool = False
    """Print summary.json instead of the table."""


class SessionPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `lab.session.serve`."""

    delay_seconds: float
    """Of the wan, one way."""
    censor: bool = True
    """Whether Sidedoor's censor stands there; else its host only forwards, for another program in its place."""
    capture: str | None = None
    """The folder for captures of the client's and the censor's interfaces; None: nothing is captured."""
