"""Sans-IO: rules in words: what each waits for and does, how well that is known, what of it the kernel does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from censor.actions import (
    AnyAction,
    BlockPage,
    Delay,
    Drop,
    ForgeDns,
    Freeze,
    Log,
    Lose,
    Mark,
    Police,
    Probe,
    Reject,
    Reset,
    Residual,
    SecondsSpan,
)
from censor.censor_table import CensorTable
from censor.compiled import CompiledRule, CompiledRules, analyzer_of
from censor.conditions import describe
from censor.draws import between
from censor.offload import ALL, Plan, Ports, address_blocks, plan
from censor.prober.settings import ProberSettings
from censor.rules import Confidence, Rule, RuleSet

CONFIDENCE: dict[Confidence, str] = {
    "read": "read in the source itself",
    "abstract": "from an abstract or an excerpt",
    "second-hand": "second-hand: a source that quotes another",
    "memory": "from memory: check it before relying on it",
}
SUBJECTS = {
    "server": "addresses",
    "client": "addresses",
    "dns": "DNS",
    "http": "HTTP",
    "tls": "TLS",
    "quic": "QUIC",
    "socks": "SOCKS",
    "ssh": "SSH",
    "mtproto": "MTProto",
    "signature": "protocols by their first bytes",
    "entropy": "fully encrypted traffic",
}
"""What a rule is about, by the first word of the properties that it asks for."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def subjects(rules: CompiledRules) -> tuple[str, ...]:
    """What the rules act on, in the order of SUBJECTS; `all flows` where they ask for none of these."""
    about = set()
    for rule in rules.rules:
        asked = {analyzer_of(name) for name in rule.condition.properties if not _is_about_ends(name)}
        if not rule.silent:
            about |= {SUBJECTS[name] for name in asked if name in SUBJECTS} or {"all flows"}
    return tuple(dict.fromkeys(name for name in (*SUBJECTS.values(), "all flows") if name in about))


def _is_about_ends(name: str) -> bool:
    return analyzer_of(name) in ("client", "server") and not name.endswith(".address")


# One rule


def facts_of(rule: CompiledRule, *, kernel: bool) -> dict[str, str]:
    """A rule in words, by what they say about it; empty where there is nothing to say. In the order of reading.

    kernel: it is one of those that the kernel enforces alone (`kernel_rules`).
    """
    given = rule.rule
    return {
        "when": describe(rule.condition.tree),
        "does": "; ".join(map(in_words, rule.actions)),
        "probability": f"{given.probability:g}, drawn for each {given.probability_of}" if given.probability < 1 else "",
        "latency": f"{span(given.latency_seconds, 's')} after the match" if given.latency_seconds else "",
        "in force": _in_force(given),
        "meant for": describe(rule.intended.tree) if rule.intended is not None else "",
        "existing flows": _existing(given, kernel=kernel),
        "evidence": given.evidence,
        "confidence": CONFIDENCE[given.confidence] if given.confidence else "",
    }


def _in_force(rule: Rule) -> str:
    if not rule.from_seconds and rule.until_seconds is None:
        return ""
    until = "" if rule.until_seconds is None else f" until {duration(rule.until_seconds)}"
    return f"from {duration(rule.from_seconds)}{until}"


def _existing(rule: Rule, *, kernel: bool) -> str:
    if rule.kills:
        return f"are ended by {'RST' if rule.resets_existing else 'silence'}"
    if rule.retroactive:
        return "have it done to them from now on"
    return "are cut, too" if kernel else ""


# Actions


def in_words(action: AnyAction) -> str:
    """What an action does, as the end of "the censor ..."."""
    match action:  # Allow stands at the end
        case Drop():
            return _drop(action)
        case Reject():
            return "drops the flow's packets and tells each sender (TCP: RST, else ICMP port unreachable)"
        case Reset():
            return _reset(action)
        case ForgeDns():
            return _forge_dns(action)
        case BlockPage():
            page = f"a redirection to {action.location}" if action.location else "a page of its own"
            return f"answers with {page} (status {action.status}), drops the request and resets the server"
        case Residual():
            return _residual(action)
        case Police() | Delay() | Lose() | Freeze():
            return _limits(action)
        case Probe():
            return "has the server probed" + (f" ({action.reason})" if action.reason else "")
        case Mark():
            return f'marks the flow "{action.value}" for later rules'
        case Log():
            return "reports it"
    return "lets the flow pass, whatever later rules say"


def _drop(action: Drop) -> str:
    large = f" of {action.least_payload_bytes} bytes of payload or more" if action.least_payload_bytes else ""
    text = f"drops the flow's packets{large}{_direction(action.direction)}"
    if action.after_packets:
        text += f" after {span(action.after_packets, 'more')}"
    if action.seconds is not None:
        text += f" for {span(action.seconds, 's')}"
        text += ", anew with each packet" if action.refresh else ""
    return text + ("" if action.trigger else "; the one that triggers it passes")


def _reset(action: Reset) -> str:
    if action.rewrite:
        lasting = f" for {span(action.seconds, 's')}" if action.seconds is not None else ""
        return f"turns the server's packets into RST+ACKs{lasting}"
    flags = "RST" if action.flags == "auto" else action.flags
    number = action.count * len(action.offsets)
    offsets = f" at sequence {', '.join(f'+{one}' for one in action.offsets)}" if action.offsets != (0,) else ""
    to = {"both": "each end", "client": "the client", "server": "the server"}[action.to]
    text = f"sends {number} {flags} to {to}{offsets}"
    text += f", {span(action.delay_seconds, 's')} later" if action.delay_seconds else ""
    text += ", again for each later packet" if action.repeat else ""
    return text + (" and drops the flow's packets" if action.drop else "; the packet passes")


def _forge_dns(action: ForgeDns) -> str:
    number = len(action.addresses)
    if not number:
        answer = action.rcode.upper()
    elif action.choose == "all" or number == 1:
        answer = ", ".join(action.addresses)
    else:
        how = "one after the other" if action.choose == "cyclic" else "at random"
        answer = f"one of {number} forged addresses ({how})"
    text = f"answers {answer} in the server's name"
    text += f", {action.injectors} times" if action.injectors > 1 else ""
    return text + (" and drops the query" if action.drop else "; the real answer comes, too")


def _residual(action: Residual) -> str:
    key = {
        "2-tuple": "between these two addresses",
        "3-tuple": "from this client to this address and port",
        "4-tuple": "between these addresses and ports",
    }[action.key]
    does = {
        "drop": f"drops all packets{_direction(action.direction)}",
        "reset": f"drops all packets{_direction(action.direction)} and resets both ends",
        "inject": f"answers all packets{_direction(action.direction)} with RSTs to both ends",
        "rewrite": "turns the server's packets into RST+ACKs",
    }[action.then]
    text = f"{does} {key} for {span(action.seconds, 's')}"
    if action.delay_seconds:
        text += f", beginning {span(action.delay_seconds, 's')} later"
    if action.probability != 1:
        certain = f", always after {action.certain_after} triggers" if action.certain_after else ""
        text += f", hitting a flow with probability {span(action.probability)}{certain}"
    anew = {"never": "", "trigger": "; another trigger starts that anew", "packet": "; each such packet starts it anew"}
    return text + anew[action.refresh] + ("; the packet that triggers it vanishes, too" if action.trigger else "")


def _limits(action: Police | Delay | Lose | Freeze) -> str:
    match action:
        case Police():
            rate = action.rate_bytes_per_second
            kept = f"{rate:g} bytes/s ({rate * 8 / 1000:g} kbit/s) with a bucket of {action.burst_bytes} bytes"
            return f"drops what of the flow is more than {kept}{_direction(action.direction, each=True)}"
        case Delay():
            return f"holds each packet{_direction(action.direction)} for {span(action.seconds, 's')}"
        case Lose():
            return f"drops each packet{_direction(action.direction)} with probability {action.probability:g}"
    limits = []
    if action.bytes is not None:
        limits.append(span(action.bytes, "bytes"))
    if action.packets is not None:
        limits.append(span(action.packets, "packets"))
    counted = _direction(action.counted) or " in both directions"
    return f"lets {' or '.join(limits)}{counted} pass, then drops all{_direction(action.direction)}"


def _direction(direction: str, *, each: bool = False) -> str:
    if direction == "both":
        return ", in each direction" if each else ""
    return " to the server" if direction == "to_server" else " to the client"


def span(value: SecondsSpan, unit: str = "") -> str:
    """`60 s`, `120 to 180 s`; of a distribution its ends, and below what half of the draws lie."""
    if not isinstance(value, tuple):
        return f"{_number(value)} {unit}".rstrip()
    first, *_, last = (point if isinstance(point, tuple) else (point, 0.0) for point in value)
    text = f"{_number(first[0])} to {_number(last[0])} {unit}".rstrip()
    return f"{text} (half below {_number(between(value, 0.5))})" if isinstance(value[0], tuple) else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{round(value, 3):g}"


def duration(seconds: float) -> str:
    """`90 s`, `7200 s (2 h)`, `259200 s (3 d)`."""
    text = f"{_number(seconds)} s"
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{text} ({round(seconds / unit, 1):g} {name})"
    return text


# The censor as a whole


def settings_of(rules: RuleSet) -> dict[str, Any]:
    """The settings that differ from the defaults, by their keys (`censor.tcp.reassembly`, `prober.destination`)."""
    censor = CensorTable(profile=rules.censor.profile)
    return {
        **dict(_differences(_plain(rules.censor), _plain(censor), "censor.")),
        **dict(_differences(_plain(rules.prober), _plain(ProberSettings()), "prober.")),
    }


def _plain(table: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(table))
    return plain


def _differences(given: dict[str, Any], default: dict[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _differences(value, default[key], f"{prefix}{key}.")
        elif value != default[key]:
            yield f"{prefix}{key}", value


def kernel_rules(rules: CompiledRules) -> tuple[str, ...]:
    """The names of the rules that the kernel enforces alone."""
    return tuple(block.rule.name for block in address_blocks(rules))


def queued(rules: CompiledRules) -> tuple[str, ...]:
    """The packets that the kernel asks the censor about, a phrase each; none: it does everything alone."""
    return _queued(plan(rules))


def _queued(asked: Plan) -> tuple[str, ...]:
    if asked.everything:
        return ("every packet, of decided flows, too",)
    phrases = []
    if asked.tcp:
        who = "both ends' packets" if asked.server else "the client's packets"
        begin = (
            "the first"
            if asked.syn
            else "the first acknowledgment"
            if asked.bare_segments
            else "the first with payload"
        )
        phrases.append(f"TCP to {_ports(asked.tcp)}: {who} from {begin} on, until the flow is decided")
    if asked.udp:
        phrases.append(f"UDP to {_ports(asked.udp)}: the client's datagrams, until the flow is decided")
    if asked.other:
        phrases.append("other protocols: until the flow is decided")
    return tuple(phrases)


def _ports(ports: Ports) -> str:
    if ports == ALL:
        return "all ports"
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in ports]
    return f"port{'s' if len(texts) > 1 or '-' in texts[0] else ''} {', '.join(texts)}"
