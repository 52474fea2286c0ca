"""Finding where a gradient goes wrong: each recorded operation remembers the line that called it, and NaN raises."""

from __future__ import annotations

from typing import Any

from facula.engine.modes import modes


class set_detect_anomaly:
    """Switch the search on or off: at once, and until the end of the block when used with `with`."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = modes.anomaly, modes.anomaly_check_nan
        modes.anomaly_check_nan, modes.anomaly = check_nan, mode
        modes.announce()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        modes.anomaly, modes.anomaly_check_nan = self.before
        modes.announce()


class detect_anomaly(set_detect_anomaly):
    """`with detect_anomaly():` backward raises at the first operation whose gradient is NaN, and shows its forward line."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> Any:
    """Whether the search is on."""
    return modes.anomaly
