"""Which locked requirements go into the image."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement

from lab.docker.wheels import closure, entries, environment, main, subset

NEEDS = {
    "sidedoor": ["aiohttp>=3", "python-socks[asyncio]>=2", 'docker; extra == "lab"', 'bokeh; extra == "report"'],
    "aiohttp": ["yarl", 'aiodns; extra == "speedups"', 'brotli; sys_platform == "win32"'],
    "yarl": ["Typing_Extensions", "aiohttp"],
    "python-socks": ['async-timeout; extra == "asyncio" and python_version < "3.11"', 'trio; extra == "trio"'],
    "docker": [],
    "Typing_Extensions": [],
    "async-timeout": [],
}
LOCK = """\
# a comment
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
bokeh==3.9 ; python_full_version < '3.12' \\
    --hash=sha256:ba
numpy==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:ca
numpy==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cb
"""


def requires(name: str) -> list[str]:
    if name not in NEEDS:
        raise PackageNotFoundError(name)
    return NEEDS[name]


def test_what_follows_with_extras_and_without_what_other_systems_need() -> None:
    found = closure(Requirement("sidedoor[lab]"), requires, environment("3.11.2"))
    assert found == {"aiohttp", "yarl", "typing-extensions", "python-socks", "docker"}


def test_markers_are_read_for_the_images_python_not_for_this_one() -> None:
    assert "async-timeout" in closure(Requirement("sidedoor"), requires, environment("3.10.1"))


def test_entries_keep_versions_and_hashes_and_lose_markers() -> None:
    lines = [text for _, text in entries(LOCK)]
    assert lines[0] == "aiohttp==3.14.5 --hash=sha256:aa --hash=sha256:ab"
    assert lines[1] == "bokeh==3.9 --hash=sha256:ba"


@pytest.mark.parametrize(("python", "version"), [("3.11.2", "1.0"), ("3.13.0", "2.0")])
def test_of_two_versions_the_one_for_that_python(python: str, version: str) -> None:
    assert subset(LOCK, {"numpy"}, environment(python))[0].startswith(f"numpy=={version} ")


def test_what_is_not_in_the_lock_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in the lock: bokeh, yarl"):
        subset(LOCK, {"aiohttp", "bokeh", "yarl"}, environment("3.13.0"))


def test_the_projects_own_lock(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    main([str(request.config.rootpath / "requirements.lock"), "3.11.2"])
    names = {line.partition("==")[0] for line in capsys.readouterr().out.splitlines()}
    assert {"aiohttp", "python-socks", "pyroute2", "docker", "scapy"} <= names
    assert not {"bokeh", "scipy", "numpy", "pytest", "mypy", "ruff", "sidedoor"} & names
