import pytest

from proxy.resolver.answers import Answer, Status, combine

V6 = Answer(Status.FOUND, ("2001:db8::1",), 60)
V4 = Answer(Status.FOUND, ("192.0.2.1", "192.0.2.2"), 30)
NO_ADDRESS = Answer(Status.NO_ADDRESS, ttl_seconds=10)
NO_NAME = Answer(Status.NO_NAME, ttl_seconds=20)
FAILED = Answer(Status.FAILED, error="SERVFAIL")


@pytest.mark.parametrize(
    ("answers", "both"),
    [
        ([V6, V4], Answer(Status.FOUND, ("2001:db8::1", "192.0.2.1", "192.0.2.2"), 30)),
        ([NO_ADDRESS, V4], Answer(Status.FOUND, V4.addresses, 10)),
        ([NO_ADDRESS, NO_ADDRESS], NO_ADDRESS),
        ([NO_NAME, NO_NAME], NO_NAME),
        ([NO_ADDRESS, NO_NAME], Answer(Status.NO_NAME, ttl_seconds=10)),
    ],
)
def test_two_answers(answers: list[Answer], both: Answer) -> None:
    assert combine(answers) == both


@pytest.mark.parametrize("answers", [[V4], [FAILED, V4]])
def test_addresses_of_one_family_are_enough_and_partial(answers: list[Answer]) -> None:
    assert combine(answers) == Answer(Status.FOUND, V4.addresses, 30, partial=True)


@pytest.mark.parametrize("answers", [[FAILED, NO_ADDRESS], [FAILED, FAILED]])
def test_a_failure_is_more_than_a_no(answers: list[Answer]) -> None:
    assert combine(answers) is FAILED
