"""Results in plain words: what a person is told about a block, a run and all runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lab.measurement.distributions import Distribution
from lab.measurement.episodes import Block
from lab.measurement.summary import Run, Summary

NOTHING = "–"


def duration(seconds: float | None) -> str:
    """0.05 -> 50 ms, 0.4 -> 0.40 s, 12.3 -> 12.3 s; a dash for what was not observed."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def count(number: int, what: str) -> str:
    """1 message, 2 messages."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def block_sentence(block: Block) -> str:
    """One episode as a sentence without its full stop."""
    if block.t0 is None and block.cut_short:
        return "cut short before the censor touched the messenger's packets"
    if block.t0 is None:
        return "the censor never touched the messenger's packets: no effect"
    parts = [f"blocked at {block.t0:.1f} s"]
    unnoticed = "not noticed" if block.cut_short else "never noticed"
    parts.append(unnoticed if block.ttd_seconds is None else f"noticed {duration(block.ttd_seconds)} later")
    if block.tts_seconds is not None:
        parts.append(f"first message through the proxy {duration(block.tts_seconds)} later")
    if block.recovered:
        parts.append(f"messages confirmed again {duration(block.ttr_seconds)} later")
    elif block.cut_short:
        parts.append(f"cut short {duration(block.censored_at_seconds)} later, not recovered by then")
    else:
        parts.append(f"NOT RECOVERED within {duration(block.censored_at_seconds)}")
    if block.outage_seconds is not None:
        parts.append(f"longest silence {duration(block.outage_seconds)}")
    if block.diagnosis is not None:
        made, acted = block.diagnosis, " and ".join(block.censor_actions)
        parts.append(
            f"taken for {made.kind} ({made.confidence:.0%} sure) after {duration(made.seconds)} (the censor: {acted})"
        )
    if block.failback_seconds is not None:
        parts.append(f"direct again {duration(block.failback_seconds)} after the block was lifted")
    elif block.failback_censored_at_seconds is not None and block.cut_short:
        parts.append(f"cut short {duration(block.failback_censored_at_seconds)} after the block was lifted")
    elif block.failback_censored_at_seconds is not None:
        parts.append(f"not direct again within {duration(block.failback_censored_at_seconds)} of the unblocking")
    return ", ".join(parts)


def run_sentence(run: Run) -> str:
    """What became of a run's messages and of everybody else, as a sentence without its full stop."""
    messages, collateral = run.messages, run.collateral
    parts = [
        f"{count(messages.sent, 'message')} sent",
        f"{messages.lost} lost" if run.outcome == "completed" else f"{messages.lost} under way when it ended",
        f"{messages.duplicated_application} shown twice",
        f"{collateral.broken} of {count(collateral.tried, 'bystander flow')} broken",
    ]
    if collateral.slowed:
        parts.append(f"{collateral.slowed} slowed")
    if run.leaks.packets is not None:
        parts.append("nothing leaked" if run.leaks.packets == 0 else f"{count(run.leaks.packets, 'packet')} LEAKED")
    if run.leaks.capture_dropped:
        parts.append(f"the captures missed {count(run.leaks.capture_dropped, 'packet')}")
    return ", ".join(parts)


def fault_sentences(run: Run) -> Iterator[str]:
    """What the scenario broke on purpose, each as a sentence without its full stop."""
    for fault in run.faults:
        yield f"{fault.role} was killed at {fault.at_seconds:.1f} s, as planned"


def ending(run: Run) -> str | None:
    """How a run ended that was cut short; None of one that was not."""
    words = {
        "interrupted": "interrupted",
        "timed_out": "timed out",
        "role_died": "ended early by the death of a role",
        "failed": "failed",
    }
    if run.outcome == "completed":
        return None
    return words[run.outcome] + ("" if run.ended_seconds is None else f" at {run.ended_seconds:.1f} s")


def median_words(distribution: Distribution) -> str:
    """The median, and of how many runs the value is known from below only."""
    if distribution.p50 is None:
        return NOTHING if not distribution.n_censored else f"not within the time watched ({distribution.n} runs)"
    never = f", {distribution.n_censored} of {distribution.n} not seen" if distribution.n_censored else ""
    return duration(distribution.p50) + never


def interval_words(distribution: Distribution) -> str:
    """The median's interval, "95 %: 0.35 s to 0.52 s", else the range of several values; nothing of one or none."""
    name, interval = ("95 %", distribution.ci95) if distribution.ci95 else ("range", distribution.range)
    if interval is None or distribution.n < 2:
        return ""
    return f"{name}: {duration(interval[0])} to {duration(interval[1])}"


def typical_sentence(metrics: Mapping[str, Distribution]) -> str:
    """A block over several runs, by the medians, as a sentence without its full stop."""
    words = {metric: median_words(distribution) for metric, distribution in metrics.items()}
    return (
        f"noticed {words['ttd_seconds']} after the first packet was hit, first message through the proxy after "
        f"{words['tts_seconds']}, confirmed again after {words['ttr_seconds']}; direct again "
        f"{words['failback_seconds']} after the block was lifted"
    )


def verdict(summary: Summary) -> str:
    """The whole in one sentence; what was cut short stands first, and counts for nothing else."""
    cut = [(number, run) for number, run in enumerate(summary.runs, 1) if run.outcome != "completed"]
    whole = [run for run in summary.runs if run.outcome == "completed"]
    if not cut:
        return _verdict(whole)
    if len(summary.runs) == 1:
        messages = summary.runs[0].messages
        return f"{ending(summary.runs[0])}, {messages.delivered} of {count(messages.sent, 'message')} shown until then"
    endings = ", ".join(f"run {number} {ending(run)}" for number, run in cut)
    return f"{endings}; {_verdict(whole)}" if whole else endings


def _verdict(of: Sequence[Run]) -> str:
    blocks: Sequence[Block] = [block for run in of for block in run.blocks]
    lost = sum(run.messages.lost for run in of)
    twice = sum(run.messages.duplicated_application for run in of)
    runs = count(len(of), "run")
    if not blocks:
        return f"{runs} without a block: {lost} lost, {twice} shown twice"
    recovered = sum(block.recovered for block in blocks)
    whole = {1: "the block", 2: "both blocks"}.get(len(blocks), f"all {len(blocks)} blocks")
    share = whole if recovered == len(blocks) else f"{recovered} of {count(len(blocks), 'block')}"
    return f"{runs}: the messenger got through {share}, {lost} lost, {twice} shown twice"
