"""Times of decisions in few figures."""

import numpy as np
import pytest

from wmctrl.runtime.latency import Latency


def test_times_in_seconds_are_told_in_milliseconds() -> None:
    found = Latency.of(np.arange(101) / 1000.0)
    assert found == pytest.approx((50.0, 99.0, 100.0))
    assert (found.p50, found.p99, found.longest) == found


def test_one_decision_has_every_figure() -> None:
    assert Latency.of([0.007]) == pytest.approx((7.0, 7.0, 7.0))


def test_no_decision_has_none() -> None:
    with pytest.raises(ValueError, match="at least one decision is needed, came none"):
        Latency.of([])
