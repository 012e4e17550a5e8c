"""Conditions, cells, and how many runs of each are wanted. Sans-IO.

A condition is one lab: a block type, warm or cold, RTT, loss, and the clients (arms) that meet the block there side by
side, round after round. A cell is what is reported: one policy in one condition's circumstances.

The default is the full factorial for `sidedoor`, and all policies side by side where RTT and loss are the reference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from lab.benchmarks.fallback.arms import DIRECT_ONLY, NO_SPARE, OURS, RACE
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.records import ControlRecord, Record

MESSAGE_BYTES = 1000
THROTTLE_INTERVAL_SECONDS = 0.02
LATENESS_LIMIT_MS = 50.0

RTTS_MS = (40, 200)
LOSSES = (0.0, 0.01)
REFERENCE = (40, 0.0)
KILL_CIRCUMSTANCES = (40, 0.01)

RUNS = 30
RUNS_FOR_P95 = 59
"""Of 59 values the greatest is a 95 % upper bound of the 95th percentile: 1 - 0.95^59 = 95.15 %."""
KILLED_RUNS = 16
ARMS = 8
WATCH_SECONDS = 15.0
COMPARED_WATCH_SECONDS = 20.0
"""The best baseline is back after 17 s of silence; those that take longer (signal 46 s, lantern 65 s) are censored to
the right here, and the comparison is with the best. `--watch 70` shows them all."""
SIGNALLED_WATCH_SECONDS = 8.0
"""Where the block is signalled, or was there before the client, a baseline is through within seconds or has no way."""
QUEUE_MESSAGES = 128
"""What a client lets wait, as a program that shows its user that nothing goes: the queues of those that are blocked for
long would else take the machine when the block is lifted."""
SHORT_RUNS = 3
SHORT_WATCH_SECONDS = 10.0
_ROUND_SECONDS = 6.0
_COLD_START_SECONDS = 0.9
_LAB_SECONDS = 5.0


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="blocked"):
    """One lab. arms: a policy a client; runs: how many runs of each policy are wanted.

    watch_seconds: for so long a recovery is waited for. kill: each client gets SIGKILL in mid-block and goes on with
    its queue.
    """

    block: str
    warm: bool
    rtt_ms: int
    loss: float
    arms: tuple[str, ...]
    runs: dict[str, int]
    watch_seconds: float
    kill: bool = False
    repeat_late: bool = True
    """Go on, within bounds, until all runs that are wanted count."""
    seed: int = 0

    @property
    def id(self) -> str:
        """The name of its folder."""
        kind = ("warm" if self.warm else "cold") + ("-kill" if self.kill else "")
        group = COMPARED if len(set(self.arms)) > 1 else self.arms[0]
        return f"{self.block}-{kind}-{self.rtt_ms}ms-{100 * self.loss:g}pc-{group}"

    @property
    def interval_seconds(self) -> float:
        """Between two messages of a client: half the RTT; under a throttle so often that 16 kB/s do not suffice."""
        half = self.rtt_ms / 2000
        return min(half, THROTTLE_INTERVAL_SECONDS) if self.block == "throttle" else half

    @property
    def rounds(self) -> int:
        """How many rounds that takes if every run counts."""
        return _rounds(self.arms, self.runs)

    @property
    def rounds_limit(self) -> int:
        """A machine that does not keep up gets more of them, but not without end."""
        return 2 * self.rounds + 5 if self.repeat_late else self.rounds + 1

    @property
    def estimated_seconds(self) -> float:
        """Where everybody is `sidedoor` nobody waits for the whole watch time."""
        waiting = 3.0 if set(self.arms) == {OURS} else self.watch_seconds
        starting = 0.0 if self.warm else _COLD_START_SECONDS * len(self.arms)
        return _LAB_SECONDS + self.rounds * (_ROUND_SECONDS + starting + waiting)


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="control"):
    """A lab without a block: what the policies do and cost when nobody does anything to them but the network.

    seconds: how long a run is; jitter_ms: of the wan; the others as in Condition.
    """

    number: int
    arms: tuple[str, ...]
    runs: dict[str, int]
    seconds: float
    rtt_ms: int = 40
    loss: float = 0.01
    jitter_ms: float = 20.0
    seed: int = 0

    @property
    def id(self) -> str:
        """The name of its folder."""
        return f"control-{self.number}"

    @property
    def interval_seconds(self) -> float:
        """Between two messages of a client."""
        return CONTROL_INTERVAL_SECONDS

    @property
    def rounds(self) -> int:
        """How many rounds that takes if every run counts."""
        return _rounds(self.arms, self.runs)

    @property
    def rounds_limit(self) -> int:
        """As in Condition."""
        return self.rounds + 2

    @property
    def estimated_seconds(self) -> float:
        """Of all its rounds."""
        return _LAB_SECONDS + self.rounds * (_ROUND_SECONDS + self.seconds)


def _rounds(arms: Sequence[str], runs: dict[str, int]) -> int:
    each = Counter(arms)
    return max(-(-n // each[policy]) for policy, n in runs.items())


COMPARED = "compared"
CONTROL_LABS = 2
CONTROL_ARMS = (OURS,) * 12 + (DIRECT_ONLY,) * 2 + (NO_SPARE,)
CONTROL_INTERVAL_SECONDS = 0.1
"""A lively conversation. No times are measured there, which would ask for half the RTT."""
CONTROL_SECONDS, _CONTROL_LEAST_SECONDS = 300.0, 5.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line; None and empty: all, or as many as by default."""

    policies: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    rtts_ms: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    warm: bool | None = None
    runs: int | None = None
    watch_seconds: float | None = None
    short: bool = False
    kill: bool = True
    seed: int = 0


def controls(client_hours: float, seed: int) -> list[Control]:
    """Labs without a block that give so many client-hours of ours, beside a client that has no proxies."""
    each = Counter(CONTROL_ARMS)
    of_each = client_hours * 3600 / (CONTROL_LABS * each[OURS])
    seconds = min(CONTROL_SECONDS, max(of_each, _CONTROL_LEAST_SECONDS))
    rounds = math.ceil(of_each / seconds)
    return [
        Control(
            number=number,
            arms=CONTROL_ARMS,
            runs={policy: rounds * n for policy, n in each.items()},
            seconds=seconds,
            seed=seed + 1000 * number,
        )
        for number in range(1, CONTROL_LABS + 1)
    ]


def calibration(seed: int) -> Condition:
    """The lab that is run alone and among others, to see whether times suffer."""
    return Condition(
        block="syn-drop",
        warm=True,
        rtt_ms=REFERENCE[0],
        loss=REFERENCE[1],
        arms=(OURS,) * ARMS,
        runs={OURS: 4 * ARMS},
        watch_seconds=WATCH_SECONDS,
        seed=seed,
    )


def missing(condition: Condition | Control, done: Sequence[Record | ControlRecord]) -> dict[str, int]:
    """How many runs of each policy are still wanted; those that have enough are left out."""
    counted = Counter(record.policy for record in done if record.counts(LATENESS_LIMIT_MS))
    return {name: n - counted[name] for name, n in condition.runs.items() if n > counted[name]}


def conditions(choice: Choice) -> list[Condition]:
    """All labs, the longest first, so that the last ones to end do not leave the machine idle."""
    found = [*_short(choice)] if choice.short else [*_factorial(choice), *(_killed(choice) if choice.kill else ())]
    seeded = [msgspec.structs.replace(c, seed=choice.seed + 1000 * number) for number, c in enumerate(found)]
    return sorted(seeded, key=lambda condition: -condition.estimated_seconds)


def _circumstances(choice: Choice) -> Iterator[tuple[str, bool, int, float]]:
    for block in choice.blocks or tuple(BLOCKS):
        for warm in (True, False) if choice.warm is None else (choice.warm,):
            for rtt_ms in choice.rtts_ms or RTTS_MS:
                for loss in choice.losses or LOSSES:
                    yield block, warm, rtt_ms, loss


def _factorial(choice: Choice) -> Iterator[Condition]:
    """The baselines are there in the reference circumstances, elsewhere only if RTT or loss was named."""
    named = bool(choice.rtts_ms or choice.losses)
    for block, warm, rtt_ms, loss in _circumstances(choice):
        together = named or (rtt_ms, loss) == REFERENCE
        policies = choice.policies if together else tuple(p for p in choice.policies if p == OURS)
        policies = _that_matter(policies, warm=warm)
        if not policies:
            continue
        silent = not BLOCKS[block].signalled
        least = RUNS_FOR_P95 if warm and silent and rtt_ms == REFERENCE[0] else RUNS
        arms = _arms(policies)
        each = Counter(arms)
        runs = {policy: choice.runs or _wanted(policy, least, each, compared=len(each) > 1) for policy in policies}
        compared = set(policies) != {OURS}
        together_seconds = COMPARED_WATCH_SECONDS if warm and silent else SIGNALLED_WATCH_SECONDS
        watch = choice.watch_seconds or (together_seconds if compared else WATCH_SECONDS)
        yield Condition(block=block, warm=warm, rtt_ms=rtt_ms, loss=loss, arms=arms, runs=runs, watch_seconds=watch)


def _that_matter(policies: Sequence[str], *, warm: bool) -> tuple[str, ...]:
    """A spare is no matter where the block comes first, and a race none where it comes later."""
    return tuple(policy for policy in policies if policy != (RACE if warm else NO_SPARE))


def _arms(policies: Sequence[str]) -> tuple[str, ...]:
    """Alone, a policy has all clients; side by side ours has two, so that it has the runs that a p95 asks for."""
    if len(policies) == 1:
        return tuple(policies) * ARMS
    return tuple(name for policy in policies for name in [policy] * (2 if policy == OURS else 1))


def _wanted(policy: str, least: int, each: Counter[str], *, compared: bool) -> int:
    """Whole rounds; side by side all have as many, so that each run of one has its neighbours."""
    rounds = RUNS if compared else -(-least // each[policy])
    return rounds * each[policy]


def _killed(choice: Choice) -> Iterator[Condition]:
    rtt_ms, loss = KILL_CIRCUMSTANCES
    fits = choice.warm is not False and rtt_ms in (choice.rtts_ms or RTTS_MS) and loss in (choice.losses or LOSSES)
    if OURS not in choice.policies or not fits:
        return
    for block in choice.blocks or tuple(BLOCKS):
        yield Condition(
            block=block,
            warm=True,
            rtt_ms=rtt_ms,
            loss=loss,
            arms=(OURS,) * ARMS,
            runs={OURS: choice.runs or KILLED_RUNS},
            watch_seconds=choice.watch_seconds or WATCH_SECONDS,
            kill=True,
        )


def _short(choice: Choice) -> Iterator[Condition]:
    """One cell for each block type and policy, in the reference circumstances, warm."""
    rtt_ms = (choice.rtts_ms or REFERENCE)[0]
    loss = choice.losses[0] if choice.losses else REFERENCE[1]
    warm = choice.warm is not False
    policies = _that_matter(choice.policies, warm=warm)
    for block in choice.blocks or tuple(BLOCKS):
        if not policies:
            continue
        yield Condition(
            block=block,
            warm=warm,
            rtt_ms=rtt_ms,
            loss=loss,
            arms=policies,
            runs=dict.fromkeys(policies, choice.runs or SHORT_RUNS),
            watch_seconds=choice.watch_seconds or SHORT_WATCH_SECONDS,
            repeat_late=False,
        )
