import pytest

from worker.broker.wire.lane import Lane


def test_a_lane_that_does_not_say_what_it_takes_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"on_content.*on_method"):
        Lane()  # type: ignore[abstract]
