"""When a server counts as away, and how long deliveries wait for it."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """A circuit breaker's numbers.

    Attributes:
        failures: So many one after the other, and the server is away; 0 never.
        pause_seconds: Before the first probe; each further pause is twice as long.
        longest_pause_seconds: The most.
        within_seconds: A failure so long after the last one is a first one again.
        probe_seconds: A probe that has said nothing for so long has died: another one may try.
        most_hours: How long a recipient is put off before it is given up.
    """

    failures: int = 3
    pause_seconds: float = 30.0
    longest_pause_seconds: float = 300.0
    within_seconds: float = 300.0
    probe_seconds: float = 180.0
    most_hours: float = 24.0

    def pause(self, probes: int) -> float:
        """Seconds until the next probe, after so many that failed."""
        doubled: float = self.pause_seconds * 2 ** min(probes, _MOST_DOUBLINGS)
        return min(doubled, max(self.longest_pause_seconds, self.pause_seconds))
