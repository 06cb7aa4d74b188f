"""The project's policy: reading and replacing it, and what follows in memory. The bucket's key `policy` keeps it."""

from __future__ import annotations

from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.bucket import Deleted, Entry
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.wakes import ANY_WORK
from loominal.fabric.operations.policy import BoundaryRule, GetPolicy, PolicyView, SetPolicy
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord, Forbidden, IllegalMove
from loominal.model.policy import Policy, Rule, checked
from loominal.model.record import Stored, decode, encode

POLICY = "policy"  # the key in the bucket
TRIES = 8  # each lost race means that somebody else's change was written
OPS_KEPT = 16  # of the newest changes: who asks again so late has given up


async def get_policy(project: Project, _caller: Caller, _args: GetPolicy) -> PolicyView:
    """Return the policy that holds."""
    return _view(project)


async def set_policy(project: Project, caller: Caller, args: SetPolicy) -> PolicyView:
    """Replace the policy; it holds at once, also for whoever waits for work now. The same op again changes nothing.

    Raises: IllegalMove if `version` is not the present one's; InvalidArgument; TooLarge; Forbidden in open mode, where
    weft's own file has the policy; BrokerUnavailable (it may be stored all the same).
    """
    if project.authority.open_mode:
        raise Forbidden("nobody is authenticated here, so nobody may set the policy", "weft's own file has it")
    op = f"{caller.agent}:{caller.op}"
    wanted = checked(
        Policy(
            boundaries={name: _rule(rule) for name, rule in args.boundaries.items()},
            cross_project=args.cross_project,
            stalled_seconds=args.stalled_seconds,
            hand_back_seconds=args.hand_back_seconds,
        )
    )
    for _ in range(TRIES):
        known = project.policy
        if op in known.ops:
            return _view(project)
        if args.version not in (None, known.version):
            raise IllegalMove(
                f"the policy is at version {known.version}, not {args.version}",
                "somebody has changed it: get_policy, and make your change to that",
            )
        value = encode(replace(wanted, ops=(*known.ops, op)[-OPS_KEPT:]), project.policy_extra)
        try:
            revision = await project.bucket.write(POLICY, value, revision=project.policy_revision)
        except Conflict:
            await _refresh(project)
            continue
        remember(project, Entry(key=POLICY, value=value, revision=revision))
        return _view(project)
    raise BrokerUnavailable("the policy changes faster than it can be written")


def remember(project: Project, change: Entry | Deleted) -> None:
    """Take what the bucket holds into memory. A policy that cannot be read lets nobody take anything.

    In open mode anybody may write there, so it changes nothing.
    """
    if project.authority.open_mode or change.revision <= project.policy_revision:
        return
    subject = subjects.bucket_subject(subjects.registry_bucket(project.id), POLICY)
    project.corrupt.pop(subject, None)
    project.policy_revision = change.revision
    try:
        found = _read(change, project.default_policy)
    except CorruptRecord as error:
        project.note_corrupt(subject, error)
        found = Stored(value=replace(project.policy, version=change.revision, closed=True))
    project.policy, project.policy_extra = found.value, found.extra
    project.polls.look_all()
    project.wakes.wake(ANY_WORK)


async def _refresh(project: Project) -> None:
    entry = await project.bucket.get(POLICY)
    if entry is None:  # deleted by hand
        project.policy, project.policy_revision, project.policy_extra = project.default_policy, 0, {}
    else:
        remember(project, entry)


def _read(change: Entry | Deleted, default: Policy) -> Stored[Policy]:
    if isinstance(change, Deleted):
        return Stored(value=default)
    stored = decode(Policy, change.value)
    return replace(stored, value=replace(stored.value, version=change.revision, closed=False))


def _rule(given: BoundaryRule) -> Rule:
    return Rule(agent_types=given.agent_types, preferred=given.preferred, spin_up=given.spin_up, targets=given.targets)


def _view(project: Project) -> PolicyView:
    policy = project.policy
    known = {name for target in project.targets.all() for name in (target.name, target.id)}
    named = dict.fromkeys(name for rule in policy.boundaries.values() for name in rule.targets)
    return PolicyView(
        version=policy.version,
        boundaries=policy.boundaries,
        cross_project=policy.cross_project,
        stalled_seconds=policy.stalled_seconds,
        hand_back_seconds=policy.hand_back_seconds,
        unreadable=policy.closed,
        unknown_targets=tuple(name for name in named if name not in known),
    )
