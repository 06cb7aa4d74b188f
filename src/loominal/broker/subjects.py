"""Every subject, stream, bucket and inbox name; nothing else in Loominal builds one.

`<p>` project id, `<a>` agent id, `<c>` channel: each is checked to be one plain token, so that no name can be a
wildcard or reach into another's subjects.
"""

from __future__ import annotations

from loominal.model.names import subject_token

FABRIC = "_fabric"  # the fabric's own registry; no project can be called so
DIRECTORY = "_directory"  # the bucket of those agents that other projects may find
WEFTS = "_wefts"  # the bucket in which the wefts of a fabric say that they live
QUEUE = "hub"
WEFT = "weft"  # as whom every weft connects
TOKEN_CHARACTERS = 64  # of what a user or a program names


def _t(text: str, what: str = "name") -> str:
    return subject_token(text, what)


def _bounded(text: str) -> str:
    """Return a name that was built here, of a prefix and a token: still one token, but longer."""
    prefix, name = text[:-TOKEN_CHARACTERS], text[-TOKEN_CHARACTERS:]
    return f"{prefix and _t(prefix)}{_t(name)}"


# streams and buckets


def channels_stream(project: str) -> str:
    """Return the name of the stream that keeps a project's channel messages."""
    return f"CH_{_t(project)}"


def inbox_stream(project: str) -> str:
    """Return the name of the stream that keeps a project's direct messages."""
    return f"IN_{_t(project)}"


def work_stream(project: str) -> str:
    """Return the name of the stream that keeps a project's work."""
    return f"WK_{_t(project)}"


def events_stream(project: str) -> str:
    """Return the name of the stream that keeps a project's other events."""
    return f"EV_{_t(project)}"


def registry_bucket(project: str) -> str:
    """Return the name of a project's registry bucket."""
    return f"REG_{_t(project)}"


def bucket_stream(bucket: str) -> str:
    """Return the stream behind a bucket."""
    return f"KV_{_bounded(bucket)}"


def due_key(project: str) -> str:
    """Return the key, in the fabric's own registry, that says when a project must be loaded."""
    return f"due.{_t(project)}"


def bucket_subject(bucket: str, key: str) -> str:
    """Return the subject of a bucket's key; a key is tokens joined by dots, the last may be `*` or `>`."""
    *tokens, last = key.split(".")
    checked = [_t(token, "key") for token in tokens] + [last if last in ("*", ">") else _t(last, "key")]
    return f"$KV.{_bounded(bucket)}.{'.'.join(checked)}"


# stored subjects


def channel(project: str, name: str) -> str:
    """Return the subject of a channel's messages."""
    return f"l.{_t(project)}.ch.{_t(name, 'channel')}"


def inbox(project: str, agent: str) -> str:
    """Return the subject of an agent's direct messages."""
    return f"l.{_t(project)}.in.{_t(agent, 'agent')}"


def submission(project: str, item: str) -> str:
    """Return the subject of an item's immutable submission."""
    return f"l.{_t(project)}.spec.{_t(item, 'work id')}"


def item(project: str, item_id: str) -> str:
    """Return the subject of an item's states."""
    return f"l.{_t(project)}.wk.{_t(item_id, 'work id')}"


def launch(project: str, launch_id: str) -> str:
    """Return the subject of a launch's states."""
    return f"l.{_t(project)}.launch.{_t(launch_id, 'launch')}"


def fence(project: str) -> str:
    """Return the subject that a guarded batch expects nobody but the leader to have moved."""
    return f"l.{_t(project)}.fence"


def leader(project: str) -> str:
    """Return the subject whose last record names the project's leader."""
    return f"l.{_t(project)}.wk-lead"


def event(project: str, kind: str) -> str:
    """Return the subject of a stored event that is no work and no message."""
    return f"l.{_t(project)}.ev.{_t(kind, 'event')}"


def every(kind: str, project: str) -> str:
    """Return the filter for all stored subjects of `kind` (ch, in, spec, wk, launch, ev) of a project."""
    return f"l.{_t(project)}.{_t(kind)}.*"


def last_token(subject: str) -> str:
    """Return what stands behind the last dot: the item, agent or channel of a stored subject."""
    return subject.rsplit(".", 1)[1]


# live subjects


def request(project: str, operation: str, agent: str) -> str:
    """Return the subject on which `agent` asks for an operation."""
    return f"rq.{_t(project)}.{_t(operation)}.{_t(agent, 'agent')}"


def requests(project: str) -> str:
    """Return the filter for every request to a project."""
    return f"rq.{_t(project)}.*.*"


def any_request() -> str:
    """Return the filter for every request to every project (open mode: that is how a project is first heard of)."""
    return "rq.*.*.*"


def enrol(machine: str) -> str:
    """Return the subject on which a machine asks for agent credentials."""
    return f"rq.enrol.{_t(machine, 'machine')}"


def enrolments() -> str:
    """Return the filter for every enrolment."""
    return "rq.enrol.*"


def heartbeat(project: str, agent: str) -> str:
    """Return the subject of an agent's heartbeats."""
    return f"hb.{_t(project)}.{_t(agent, 'agent')}"


def heartbeats(project: str) -> str:
    """Return the filter for a project's heartbeats."""
    return f"hb.{_t(project)}.*"


def control(project: str, agent: str) -> str:
    """Return the subject on which the hub tells an agent to look (lease lost, cancel, drain)."""
    return f"ctl.{_t(project)}.{_t(agent, 'agent')}"


def channel_wake(project: str, name: str) -> str:
    """Return the subject that carries a bodyless note of each new channel message."""
    return f"ev.{_t(project)}.ch.{_t(name, 'channel')}"


def inbox_wake(project: str, agent: str) -> str:
    """Return the subject that carries a bodyless note of each new direct message."""
    return f"ev.{_t(project)}.in.{_t(agent, 'agent')}"


def leader_wake(project: str) -> str:
    """Return the subject on which a new leader announces itself."""
    return f"ev.{_t(project)}.lead"


def progress_note(project: str) -> str:
    """Return the subject on which the leader tells what the holder of an item has reported of its progress."""
    return f"ev.{_t(project)}.progress"


def counting(project: str) -> str:
    """Return the subject on which a weft asks the leader for the counts of a project."""
    return f"ct.{_t(project)}"


def warm(project: str) -> str:
    """Return the subject on which a weft tells the leader that it could lead the project at once."""
    return f"wm.{_t(project)}"


def reminder(weft: str) -> str:
    """Return the subject, in the fabric's own account, on which a weft is told what it leads."""
    return f"wf.{_t(weft, 'weft')}"


def abroad(project: str, what: str) -> str:
    """Return the subject, in the fabric's own account, on which other projects' leaders ask that of a project."""
    return f"xp.{_t(project)}.{_t(what)}"


def from_abroad(project: str) -> str:
    """Return the filter for everything that other projects ask of a project."""
    return f"xp.{_t(project)}.*"


def needed(project: str) -> str:
    """Return the subject, in the fabric's own account, that tells every weft that somebody asks for a project."""
    return f"xn.{_t(project)}"


def any_needed() -> str:
    """Return the filter for every project that somebody asks for."""
    return "xn.*"


def reply_prefix(name: str) -> str:
    """Return the inbox prefix of an agent, machine or weft, without the trailing dot."""
    return f"_IB.{_t(name, 'agent')}"


def republish(kind: str, project: str) -> tuple[str, str]:
    """Return source and destination for the bodyless copies of `kind` (ch or in) that wake agents."""
    return every(kind, project), f"ev.{_t(project)}.{_t(kind)}.{{{{wildcard(1)}}}}"


def agent_permissions(project: str) -> tuple[list[str], list[str]]:
    """Return what an agent may publish and subscribe, as a JWT template: its own subjects and no JetStream."""
    p, me = _t(project), "{{name()}}"
    publish = [f"rq.{p}.*.{me}", f"hb.{p}.{me}"]
    subscribe = [f"_IB.{me}.>", f"ev.{p}.ch.*", f"ev.{p}.in.{me}", f"ev.{p}.lead", f"ctl.{p}.{me}"]
    return publish, subscribe


def machine_permissions() -> tuple[list[str], list[str]]:
    """Return what a machine may publish and subscribe, as a JWT template: enrolment and its answers."""
    me = "{{name()}}"
    return [f"rq.enrol.{me}"], [f"_IB.{me}.>"]


# the broker's own, heard and asked by its system account


def claims_lookup(account: str) -> str:
    """Return the subject that answers with an account's JWT, or with nothing if the broker has none."""
    return f"$SYS.REQ.ACCOUNT.{_t(account, 'account')}.CLAIMS.LOOKUP"


def system_connects(account: str | None = None) -> str:
    """Return the subject on which the broker tells of clients that connected to an account (None: to any)."""
    return f"$SYS.ACCOUNT.{_t(account, 'account') if account else '*'}.CONNECT"


def system_disconnects(account: str | None = None) -> str:
    """Return the subject on which the broker tells of clients of an account (None: of any) that are gone."""
    return f"$SYS.ACCOUNT.{_t(account, 'account') if account else '*'}.DISCONNECT"


def claims_update() -> str:
    """Return the subject that takes a new or changed account JWT."""
    return "$SYS.REQ.CLAIMS.UPDATE"


def connections() -> str:
    """Return the subject on which every server lists its connections."""
    return "$SYS.REQ.SERVER.PING.CONNZ"


def store_use() -> str:
    """Return the subject on which every server tells how full its store is."""
    return "$SYS.REQ.SERVER.PING.JSZ"


# JetStream's own


def api(*tokens: str) -> str:
    """Return the subject of a request to JetStream, such as `api("STREAM", "INFO", stream)`."""
    return f"$JS.API.{'.'.join(_bounded(token) for token in tokens)}"


def bucket_filter(bucket: str) -> str:
    """Return the filter for every key of a bucket."""
    return f"$KV.{_bounded(bucket)}.>"


def bucket_key(bucket: str, subject: str) -> str:
    """Return the key that `bucket_subject` made `subject` of."""
    return subject.removeprefix(f"$KV.{_bounded(bucket)}.")
