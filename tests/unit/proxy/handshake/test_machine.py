"""What all handshakes have in common. What they do with it is in their own tests."""

import pytest

from proxy.handshake.handshake import MACHINES
from proxy.handshake.machine import Machine, State, Step
from proxy.wire import UNSPECIFIED, ReplyCode

MACHINES_OF_ALL = sorted(set(MACHINES.values()), key=lambda machine: machine.protocol)


def test_a_handshake_with_nobody_has_nothing_to_say() -> None:
    machine = Machine(False)
    assert (machine.next_event(), machine.data_to_send(), machine.early_data()) == (None, b"", b"")


def test_what_a_protocol_does_not_have_is_out_of_turn() -> None:
    machine = Machine(True)
    with pytest.raises(KeyError):
        machine.verdict(True)
    for call in (machine.listening, machine.succeed):
        with pytest.raises(KeyError):
            call(UNSPECIFIED)
    with pytest.raises(KeyError):
        machine.fail(ReplyCode.GENERAL_FAILURE)


@pytest.mark.parametrize("machine", MACHINES_OF_ALL)
def test_every_table_begins_somewhere_and_leads_to_the_end(machine: type[Machine]) -> None:
    reached = {machine.first}
    for _ in State:
        reached |= {after for (before, _), after in machine.rules.items() if before in reached}
    assert {before for before, _ in machine.rules} == reached - {State.DONE}
    assert State.DONE in reached


@pytest.mark.parametrize("machine", MACHINES_OF_ALL)
def test_every_state_can_end_badly_but_the_one_that_waits_for_nobody(machine: type[Machine]) -> None:
    bad = {Step.CREDENTIALS_WRONG, Step.FAILED, Step.REFUSED}
    ends_badly = {before for (before, step), after in machine.rules.items() if step in bad and after is State.DONE}
    assert {before for before, _ in machine.rules} - ends_badly <= {State.ADMITTED}
