"""How long things take before something is concluded from them; tests shorten them together."""

from __future__ import annotations

import msgspec


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, each with its reason. `Timings().scaled(0.1)` keeps the proportions."""

    lease_seconds: float = 30.0  # six missed heartbeats; long enough for a Wi-Fi change
    heartbeat_seconds: float = 5.0
    offline_seconds: float = 15.0  # three missed heartbeats
    unheard_claim_seconds: float = 15.0  # a claim its holder never names: the answer was lost
    grace_seconds: float = 10.0  # after a seen disconnect or a closed stdin, before claims go back
    cancel_seconds: float = 30.0  # asked, then fenced
    unload_seconds: float = 600.0  # nobody has needed a project for so long
    settled_seconds: float = 10.0  # a new leader keeps the lead for so long, unless it ends
    coming_seconds: float = 3.0  # for a newer weft to come back before an older one refuses in its place
    pace: float = 1.0  # what backoffs and the policy's times are multiplied with
    stall_seconds: float = 1.0  # the leader's own loop stood still for longer: it judges nobody
    round_seconds: float = 0.5  # between two rounds of judging

    def scaled(self, factor: float) -> Timings:
        """Return all of them times `factor`; the leader's own stall limit and round keep a floor."""
        values = {name: getattr(self, name) * factor for name in self.__struct_fields__}
        values["stall_seconds"] = max(values["stall_seconds"], 0.5)
        values["round_seconds"] = max(values["round_seconds"], 0.05)
        return Timings(**values)
