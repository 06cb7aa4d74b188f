"""What weft looks after because its broker may be a cluster: the copies of every stream, and whether anybody leads.

`fabric.py` runs them as duties. On a single server they ask nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loominal.broker.log import Log
from loominal.model.errors import BrokerUnavailable, LoominalError

LOOK_SECONDS = 5.0  # between two looks whether the servers can still decide anything
SPREAD_SECONDS = 30.0  # between two tries to have more copies


class Quorum:
    """Whether the servers can still decide anything, seen by one stream for all of them."""

    def __init__(self, sample: Log) -> None:
        self.trouble = ""  # why nothing can be stored; "" if all is well
        self._sample = sample

    async def look(self) -> None:
        """Take note whether enough servers are up. Raises: BrokerUnavailable if not."""
        if not self._sample.broker.clustered:
            return
        try:
            await self._sample.state()
        except BrokerUnavailable as error:
            self.trouble = f"too few servers of the cluster are up to store anything ({error.message})"
            raise
        self.trouble = ""


async def spread(logs: Callable[[], Iterable[Log]]) -> None:
    """Have streams kept three times that could not be when they were made. Raises: the last error of several.

    `logs` tells of every stream there is by now.
    """
    failure: LoominalError | None = None
    for each in list(logs()):
        try:
            await each.spread()
        except LoominalError as error:  # it must not keep the others from their copies
            failure = error
    if failure is not None:
        raise failure
