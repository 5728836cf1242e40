"""A sample of what `python -m tests.fuzz.decoder` tries."""

from tests.fuzz.decoder import THROUGH_HTTP, Door, http_door, one_input

SEED = 1
INPUTS = 5_000


def test_any_bytes_are_read_or_refused_in_bounded_time_and_memory():
    door = Door()
    for number in range(INPUTS):
        one_input(door, SEED, number)
    # The inputs are worth their time only if they get past every check.
    assert door.outcomes["accepted"] > INPUTS / 20
    assert {"UnreadableInput", "InvalidInput"} <= door.outcomes.keys()


def test_any_bytes_sent_to_a_monitor_are_answered_with_a_reply_or_a_problem():
    with http_door() as door:
        for number in range(0, 20 * THROUGH_HTTP, 2):
            one_input(door, SEED, number)
        assert door.outcomes["HTTP 200"] > 0
