from pathlib import Path

import pytest

from proxy.policy.inside import EMBEDDING, INSIDE, inside
from proxy.policy.names import spelled_address
from proxy.wire import Address, AddressType
from tests import ssrf


@pytest.mark.parametrize(("form", "why"), ssrf.INSIDE)
def test_every_form_leads_inside(form: str, why: str) -> None:
    target = Address.of(form, 80)
    address = spelled_address(form) if target.type is AddressType.DOMAIN else target.host
    assert address is not None
    assert inside(address), why


@pytest.mark.parametrize("address", ssrf.OUTSIDE)
def test_what_is_not_inside(address: str) -> None:
    assert inside(address) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback (RFC 1122)"),
        ("::ffff:127.0.0.1", "loopback (RFC 1122)"),
        ("169.254.169.254", "cloud metadata (AWS, Azure, Google Cloud, OpenStack and others)"),
        ("fd00:ec2::254", "cloud metadata (AWS)"),
        ("::1", "loopback (RFC 4291)"),
        ("::10.0.0.1", "private (RFC 1918), as IPv4-compatible (RFC 4291)"),
        ("64:ff9b::10.0.0.1", "private (RFC 1918), as NAT64 (RFC 6052)"),
        ("2001:0:0a00:1::", "private (RFC 1918), as Teredo server (RFC 4380)"),
        ("2001:0:c000:201::f5ff:fffe", "private (RFC 1918), as Teredo client (RFC 4380)"),
        ("2001:db8::200:5efe:10.0.0.1", "private (RFC 1918), as ISATAP (RFC 5214)"),
    ],
)
def test_the_reason_names_the_closest_row(address: str, reason: str) -> None:
    assert inside(address) == reason


@pytest.mark.parametrize("row", INSIDE, ids=lambda row: str(row.network))
def test_a_row_holds_from_its_first_to_its_last_address(row: object) -> None:
    network = next(one.network for one in INSIDE if one is row)
    assert inside(str(network[0]))
    assert inside(str(network[-1]))


def test_what_is_no_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        inside("localhost")


def test_the_documentation_has_the_table() -> None:
    text = (Path(__file__).parents[4] / "docs/proxy-policy.md").read_text(encoding="utf-8")
    rows = [f"| `{row.network}` | {row.what} | {row.source} |" for row in INSIDE]
    assert [line for line in text.splitlines() if line.startswith("| `") and line in rows] == rows
    for form in EMBEDDING:
        assert f"| {form.what} | {form.source} | `{form.network}` |" in text
