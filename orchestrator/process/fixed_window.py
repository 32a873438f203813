"""Counts uses in fixed windows of time, in this process alone: the simple limit where no shared one can be asked."""

from dataclasses import dataclass


@dataclass(slots=True)
class FixedWindow:
    """Uses counted in one window of `seconds`; not thread-safe.

    A window starts with the first use after the last one ended, so two windows side by side admit at most twice the
    limit within `seconds`: no more than a token bucket of the same rate does. `now` is of one monotonic clock.
    """

    seconds: float
    used: float = 0.0
    ends_at: float = 0.0

    def take(self, amount: float, *, limit: float, now: float) -> bool:
        """Use `amount` if the window has room for it; return whether it had."""
        if now >= self.ends_at:
            self.used = 0.0
        if self.used + amount > limit:
            return False
        if self.used == 0 and amount > 0:
            self.ends_at = now + self.seconds
        self.used += amount
        return True

    def correct(self, difference: float) -> None:
        """Add to what was used; a negative difference gives back."""
        self.used = max(0.0, self.used + difference)

    def seconds_left(self, now: float) -> float:
        """Return how long the current window lasts; 0 when it has ended."""
        return max(0.0, self.ends_at - now)
