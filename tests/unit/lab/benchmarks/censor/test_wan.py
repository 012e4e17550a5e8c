import pytest

from lab.benchmarks.censor import wan
from lab.link import LinkSettings


def test_it_delays_until_its_input_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def run_link(settings: LinkSettings, ready: object, stop: int) -> None:
        seen.append((settings.delay_seconds, stop))
        assert callable(ready)
        ready("netem")

    monkeypatch.setattr(wan, "run_link", run_link)
    wan.main("0.02")
    assert seen == [(0.02, 0)]
    assert capsys.readouterr().out == "netem\n"
