"""Events as JSON lines."""

import io
import json
import time

from sidedoor.events import EventWriter, discard, encode


def test_a_line_has_time_source_event_and_fields() -> None:
    line = encode("client", "message_sent", {"id": 7, "route": "direct", "t": 12.5})
    assert line.endswith(b"\n")
    assert json.loads(line) == {"t": 12.5, "source": "client", "event": "message_sent", "id": 7, "route": "direct"}
    assert line.count(b"\n") == 1


def test_the_time_is_now_unless_it_is_given() -> None:
    before = time.monotonic()
    t = json.loads(encode("lab", "run_started", {}))["t"]
    assert before <= t <= time.monotonic()


def test_line_feeds_in_fields_do_not_break_the_line() -> None:
    assert encode("lab", "role_died", {"status": "a\nb", "t": 0.0}).count(b"\n") == 1


def test_a_writer_writes_whole_lines_at_once() -> None:
    flushed: list[bytes] = []

    class Stream(io.BytesIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    emit = EventWriter("proxy1", Stream())
    emit("proxy_listening", addresses=["127.0.0.1:1080"])
    emit("flow_opened", flow=1, t=3.0)
    assert [len(written.splitlines()) for written in flushed] == [1, 2]
    assert json.loads(flushed[-1].splitlines()[1])["source"] == "proxy1"


def test_discard_takes_any_event() -> None:
    discard("anything", t=1.0, event_of=2)
