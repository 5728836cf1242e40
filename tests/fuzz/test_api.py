"""A sample of what `python -m tests.fuzz.api` tries."""

import pytest

from tests.fuzz.api import main

pytestmark = pytest.mark.integration


def test_nothing_is_answered_that_the_description_does_not_say_with_and_without_a_token():
    main(["--examples", "4", "--phases", "examples,fuzzing"])
