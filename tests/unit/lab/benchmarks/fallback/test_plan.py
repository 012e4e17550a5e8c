"""Which labs there are, and how many runs of each policy they are to have."""

from __future__ import annotations

from collections import Counter

from lab.benchmarks.fallback.arms import BASELINES, NO_SPARE, OURS, RACE
from lab.benchmarks.fallback.blocks import BLOCKS
from lab.benchmarks.fallback.plan import (
    RUNS,
    RUNS_FOR_P95,
    Choice,
    Condition,
    calibration,
    conditions,
    controls,
    missing,
)
from lab.benchmarks.fallback.records import Lateness
from tests.unit.lab.benchmarks.fallback.made_up import record

ALL = (OURS, *BASELINES, NO_SPARE, RACE)


def plan(policies: tuple[str, ...] = ALL, **fields: object) -> list[Condition]:
    return conditions(Choice(policies=policies, **fields))  # type: ignore[arg-type]  # fields of several types


def test_the_default_is_the_full_factorial_of_ours() -> None:
    cells = Counter((c.block, c.warm, c.rtt_ms, c.loss) for c in plan() if OURS in c.runs and not c.kill)
    assert set(cells.values()) == {1}
    assert len(cells) == len(BLOCKS) * 2 * 2 * 2


def test_ids_and_seeds_are_each_a_lab_s_own() -> None:
    found = plan(seed=5)
    assert len({c.id for c in found}) == len({c.seed for c in found}) == len(found)
    assert min(c.seed for c in found) == 5


def test_baselines_stand_beside_ours_in_the_reference_circumstances() -> None:
    for condition in plan():
        reference = (condition.rtt_ms, condition.loss) == (40, 0.0) and not condition.kill
        compared = set(ALL) - {RACE if condition.warm else NO_SPARE}
        assert set(condition.arms) == (compared if reference else {OURS})
        long = condition.warm and not BLOCKS[condition.block].signalled
        assert condition.watch_seconds == ((20.0 if long else 8.0) if reference else 15.0)
        assert condition.id.endswith("compared" if reference else OURS)


def test_every_cell_has_30_runs_and_59_where_a_p95_is_claimed() -> None:
    for condition in plan(kill=False):
        assert all(n >= RUNS for n in condition.runs.values())
        if condition.warm and condition.rtt_ms == 40 and not BLOCKS[condition.block].signalled:
            assert condition.runs[OURS] >= RUNS_FOR_P95
        arms = Counter(condition.arms)
        assert {n / arms[policy] for policy, n in condition.runs.items()} == {condition.rounds}


def test_named_circumstances_are_everybody_s() -> None:
    (condition,) = plan(rtts_ms=(200,), losses=(0.01,), blocks=("rst",), warm=False)
    assert set(condition.arms) == {OURS, *BASELINES, RACE}
    assert (condition.rtt_ms, condition.loss, condition.warm) == (200, 0.01, False)


def test_a_baseline_alone_is_measured_in_the_reference_circumstances_only() -> None:
    found = plan(("outline",), blocks=("rst",))
    assert [(c.rtt_ms, c.loss) for c in found] == [(40, 0.0)] * 2
    assert {c.id for c in found} == {"rst-warm-40ms-0pc-outline", "rst-cold-40ms-0pc-outline"}
    assert {(c.warm, c.watch_seconds) for c in found} == {(True, 8.0), (False, 8.0)}


def test_what_is_asked_for_goes_over_the_defaults() -> None:
    (condition,) = plan((OURS,), blocks=("rst",), rtts_ms=(40,), losses=(0.0,), warm=True, runs=5, watch_seconds=7.0)
    assert (condition.runs, condition.watch_seconds, condition.arms) == ({OURS: 5}, 7.0, (OURS,) * 8)
    assert (condition.rounds, condition.rounds_limit) == (1, 7)


def test_clients_are_killed_in_warm_labs_with_loss() -> None:
    killed = [c for c in plan() if c.kill]
    assert {c.block for c in killed} == set(BLOCKS)
    assert {(c.warm, c.rtt_ms, c.loss) for c in killed} == {(True, 40, 0.01)}
    assert killed[0].id == f"{killed[0].block}-warm-kill-40ms-1pc-sidedoor"
    assert not [c for c in plan(kill=False) if c.kill]
    for fields in ({"warm": False}, {"rtts_ms": (200,)}, {"losses": (0.0,)}, {"policies": ("outline",)}):
        assert not [c for c in plan(**fields) if c.kill]


def test_the_short_one_has_a_cell_for_each_block_type_and_policy() -> None:
    found = plan(short=True)
    assert [c.block for c in found] == list(BLOCKS)
    warm = [policy for policy in ALL if policy != RACE]
    assert all(c.warm and c.runs == dict.fromkeys(warm, 3) and c.rounds_limit == 4 for c in found)
    assert sum(c.estimated_seconds for c in found) < 15 * 60  # one lab at a time
    (cold,) = plan(short=True, warm=False, blocks=("freeze",), rtts_ms=(200,), losses=(0.01,))
    assert (cold.warm, cold.rtt_ms, cold.loss) == (False, 200, 0.01)
    assert set(cold.runs) == set(ALL) - {NO_SPARE}
    assert not plan(short=True, policies=(RACE,)), "it is none where the block comes later"


def test_the_longest_come_first() -> None:
    times = [c.estimated_seconds for c in plan()]
    assert times == sorted(times, reverse=True)
    assert times[0] > 20 * RUNS


def test_messages_go_at_half_the_rtt_and_faster_than_a_throttle() -> None:
    intervals = {(c.block == "throttle", c.rtt_ms): c.interval_seconds for c in plan()}
    assert intervals == {(False, 40): 0.02, (False, 200): 0.1, (True, 40): 0.02, (True, 200): 0.02}


def test_runs_that_do_not_count_are_still_missing() -> None:
    condition = calibration(1)
    late = record(lateness_ms=Lateness(client=400.0))
    assert missing(condition, []) == {OURS: 32}
    assert missing(condition, [record()] * 30 + [late, record(problem="not hit")]) == {OURS: 2}
    assert missing(condition, [record()] * 32) == {}


def test_labs_without_a_block_give_the_hours() -> None:
    found = controls(3.2, seed=1)
    assert len({c.id for c in found}) == 2
    hours = sum(c.runs[OURS] * c.seconds for c in found) / 3600
    assert hours >= 3.2
    assert found[0].rounds == found[0].runs[OURS] / 12
    assert found[0].estimated_seconds > found[0].rounds * found[0].seconds
    assert found[0].rounds_limit == found[0].rounds + 2
    assert (found[0].interval_seconds, found[0].loss, found[0].jitter_ms) == (0.1, 0.01, 20.0)
    short = controls(0.01, seed=1)
    assert (short[0].rounds, short[0].seconds) == (1, 5.0)
