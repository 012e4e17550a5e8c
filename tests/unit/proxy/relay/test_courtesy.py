from proxy.relay.courtesy import BULK_SECONDS, CHAT_SECONDS, REST_SECONDS, Courtesy


def test_bulk_alone_never_rests() -> None:
    courtesy = Courtesy()
    assert not courtesy.asked(1000.0)
    courtesy.took(1000.0, 1001.0)
    assert courtesy.rest_seconds(1001.0) == 0


def test_bulk_rests_once_it_has_had_its_time() -> None:
    courtesy = Courtesy()
    courtesy.chatted = now = 1000.0
    assert courtesy.asked(now)
    short = BULK_SECONDS * 0.6
    courtesy.took(now, now + short)
    assert courtesy.rest_seconds(now + short) == 0
    courtesy.took(now + short, now + 2 * short)
    now += 2 * short
    assert abs(courtesy.rest_seconds(now) - REST_SECONDS) < 1e-9
    assert abs(courtesy.rest_seconds(now + REST_SECONDS / 2) - REST_SECONDS / 2) < 1e-9
    now += REST_SECONDS
    assert courtesy.rest_seconds(now) == 0
    courtesy.took(now, now + short)
    assert courtesy.rest_seconds(now + short) == 0, "what was spent before the rest is paid"


def test_nobody_rests_for_those_that_are_silent() -> None:
    courtesy = Courtesy()
    courtesy.chatted = 1000.0
    late = 1000.0 + CHAT_SECONDS
    assert courtesy.asked(late - 0.001)
    assert not courtesy.asked(late)
    courtesy.took(late - 1, late)
    assert courtesy.rest_seconds(late) == 0


def test_the_request_of_a_download_was_no_chat() -> None:
    courtesy = Courtesy()
    courtesy.chatted, courtesy.chatter = 1000.0, "download"
    courtesy.is_bulk("another download")
    assert courtesy.asked(1000.0)
    courtesy.is_bulk("download")
    assert not courtesy.asked(1000.0)
