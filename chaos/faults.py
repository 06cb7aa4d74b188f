"""What goes wrong in each round, and for how long: decided by the seed alone."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

SHORT_SECONDS = (0.3, 1.0)  # less than any limit, also shortened tenfold
LONG_SECONDS = (3.3, 4.0)  # longer than a lease and every grace, shortened tenfold
DOWN_SECONDS = (0.0, 1.5)  # before what was killed is started again
AFTER_SECONDS = (0.0, 0.9)  # from a round's beginning: while its work is being offered, claimed and done
AWAY_SECONDS = (3.5, 5.0)  # long enough for claims to lapse and for an unused project to be left
LEADER_SHARE = 0.5  # of what befalls one of several wefts
SECOND_SHARE = 0.25  # of the rounds, in which something else goes wrong besides
SECOND_AFTER_SECONDS = (0.15, 3.5)  # also just when another weft has taken over


class Way(StrEnum):
    """A kind of fault."""

    KILL = "kill"  # and start again
    CRASH = "crash"  # kill when its line has been slow for a while: what was half done or not heard of dies with it
    STOP = "stop"  # ask it to end, and start it again when it has
    FREEZE = "freeze"
    CUT = "cut"  # all connections, once
    STALL = "stall"  # hold back what the line carries
    SWALLOW = "swallow"  # lose what the line carries
    SLOW = "slow"
    JUMP = "jump"  # the clock of its machine is set on, or back; so it stays
    REPEAT = "repeat"  # send requests twice


class Target(StrEnum):
    """What the fault happens to."""

    AGENTS = "agents"  # one process of several agents
    WEFT = "weft"
    LEADER = "leader"  # of several wefts the one that leads then
    BROKER = "broker"
    CREWS = "crews"  # every process of agents
    ALL = "all"  # processes, or lines; the steady crew only where everything ends


WEIGHTS: dict[tuple[Way, Target], int] = {
    (Way.KILL, Target.AGENTS): 4,
    (Way.KILL, Target.WEFT): 4,
    (Way.KILL, Target.BROKER): 3,
    (Way.KILL, Target.CREWS): 2,
    (Way.CRASH, Target.AGENTS): 4,
    (Way.CRASH, Target.WEFT): 4,
    (Way.CRASH, Target.ALL): 3,
    (Way.STOP, Target.WEFT): 3,
    (Way.FREEZE, Target.AGENTS): 4,
    (Way.FREEZE, Target.WEFT): 4,
    (Way.FREEZE, Target.BROKER): 3,
    (Way.FREEZE, Target.ALL): 2,
    (Way.CUT, Target.AGENTS): 2,
    (Way.CUT, Target.WEFT): 2,
    (Way.CUT, Target.ALL): 2,
    (Way.STALL, Target.AGENTS): 2,
    (Way.STALL, Target.WEFT): 3,
    (Way.SWALLOW, Target.AGENTS): 2,
    (Way.SWALLOW, Target.WEFT): 3,
    (Way.SLOW, Target.AGENTS): 1,
    (Way.SLOW, Target.WEFT): 1,
    (Way.JUMP, Target.WEFT): 2,
    (Way.REPEAT, Target.ALL): 3,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `seconds` from its beginning, `after_seconds` into the round, until all is as before."""

    way: Way
    target: Target
    number: int  # which of several processes
    after_seconds: float
    seconds: float

    def __str__(self) -> str:
        which = f"{self.target} {self.number}" if self.target in (Target.AGENTS, Target.WEFT) else str(self.target)
        return f"{self.way} {which} for {self.seconds:.1f} s"


def faults(seed: int, rounds: int, *, crews: int, wefts: int) -> list[list[Fault]]:
    """Return the faults of each round: one, or two of different processes. `crews` does not count the steady one."""
    chance = random.Random(f"faults {seed}")
    found = []
    for _ in range(rounds):
        one, two = _drawn(chance, AFTER_SECONDS, crews, wefts), _drawn(chance, SECOND_AFTER_SECONDS, crews, wefts)
        both = chance.random() < SECOND_SHARE and (one.target, one.number) != (two.target, two.number)
        found.append([one, two] if both else [one])
    return found


def _drawn(chance: random.Random, after: tuple[float, float], crews: int, wefts: int) -> Fault:
    [(way, target)] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    if target is Target.WEFT and wefts > 1 and chance.random() < LEADER_SHARE:
        target = Target.LEADER
    number = chance.randrange({Target.AGENTS: crews, Target.WEFT: wefts}.get(target, 1))
    after_seconds = chance.uniform(*after)
    if (way, target) == (Way.KILL, Target.CREWS):
        seconds = chance.uniform(*AWAY_SECONDS)
    elif (way, target) == (Way.KILL, Target.BROKER):
        seconds = chance.uniform(*chance.choice((DOWN_SECONDS, LONG_SECONDS)))
    elif way in (Way.KILL, Way.CRASH, Way.STOP):
        seconds = chance.uniform(*DOWN_SECONDS)
    elif way in (Way.CUT, Way.JUMP):
        seconds = 0.0
    else:
        seconds = chance.uniform(*chance.choice((SHORT_SECONDS, LONG_SECONDS)))
    return Fault(way=way, target=target, number=number, after_seconds=after_seconds, seconds=seconds)
