"""Each kind of answer as lines of text. Peers' texts are indented; ids, cursors and offsets stand where they help."""

from __future__ import annotations

from loominal.fabric.operations.channels import Channels, ChannelView, History, MessageSent
from loominal.fabric.operations.dead_letters import DeadLetterMoved, DeadLetters
from loominal.fabric.operations.events import Events
from loominal.fabric.operations.identity import HandleSet, Joined, MyHandle
from loominal.fabric.operations.inbox import NOTICE, DirectSent, Inbox, MessageView
from loominal.fabric.operations.registry import AgentView, Deregistered, Discovered, PresenceUpdated, Registered
from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import (
    Claimed,
    Offered,
    ProgressReported,
    WorkDetail,
    WorkMoved,
    WorkPage,
)
from loominal.warp.text import at, counted, facts, flat, json_line, listed, name, one_line, quoted
from loominal.warp.work_text import claimed, detail, held, letter, listed_item


def rendered(view: View) -> list[str]:
    """Return the lines of an answer."""
    match view:
        case Joined():
            return _joined(view)
        case Inbox():
            return _inbox(view)
        case History():
            return _history(view)
        case Claimed():
            return claimed(view)
        case WorkDetail():
            return detail(view)
        case WorkPage(items=items, total=total, next_cursor=cursor):
            return [f"{len(items)} of {total} items.", *flat(map(listed_item, items)), *_more(cursor)]
        case DeadLetters(items=letters, total=total, next_cursor=cursor):
            return [f"{len(letters)} of {total} dead letters.", *flat(map(letter, letters)), *_more(cursor)]
        case Discovered(agents=agents, total=total, next_cursor=cursor, note=note):
            missing = [one_line(note)] if note else []
            return [f"{len(agents)} of {total} agents.", *missing, *flat(map(_agent, agents)), *_more(cursor)]
        case AgentView():
            return _agent(view)
        case Channels(channels=channels):
            return [counted(len(channels), "channel") + ".", *map(_channel, channels)]
        case Events():
            return _events(view)
    return [_said(view)]


def _said(view: View) -> str:
    """Return an answer that is one sentence."""
    match view:
        case HandleSet(handle=handle, guid=guid):
            return f"You are {handle} ({guid})."
        case MyHandle(handle=handle, guid=guid, project=project, project_id=project_id, registered=registered):
            state = "registered" if registered else "not registered yet: call join"
            return f"You are {handle} ({guid}) in project {name(project)} ({project_id}), {state}."
        case Registered(handle=handle, guid=guid, agent_type=kind, capabilities=able, boundaries=boundaries):
            known = facts(("capabilities", listed(able)), ("boundaries", listed(boundaries)))
            return f"Registered as {handle} ({guid}), {name(kind)}; {known or 'no capabilities'}."
        case MessageSent(id=number, channel=channel, timestamp=moment):
            return f"Sent {number} to #{channel} at {at(moment)}."
        case DirectSent(id=number, recipient=to, receipt=receipt, note=note):
            sent = f"Sent {number} to {to.handle} ({to.guid}), who is {to.status}: {receipt} in its inbox."
            return f"{sent} Note: {one_line(note)}." if note else sent
        case Offered():
            return _offered(view)
        case ProgressReported(work_id=item, percent=percent, cancel_requested=cancelled):
            how_far = f"{item} is at {percent:g} %." if percent is not None else f"{item} goes on."
            return how_far + (" Stop: it was called off; release it." if cancelled else "")
        case WorkMoved(work_id=item, status=status, next_attempt_at=moment, note=note):
            moved = f"{item} is {status}" + (f"; next attempt at {at(moment)}." if moment else ".")
            return f"{moved} Note: {one_line(note)}." if note else moved
        case DeadLetterMoved(id=item, status=status):
            return f"{item} is {status}."
        case PresenceUpdated(before=old, after=new):
            known = facts(("tasks", new.current_task_count), ("capabilities", listed(new.capabilities)))
            return f"You were {old.status} and are {new.status}" + (f"; {known}." if known else ".")
        case Deregistered(guid=guid, released=released):
            return f"{guid} is deregistered; handed back: {listed(released)}."
    raise TypeError(f"{type(view).__name__} has no text")


def _joined(view: Joined) -> list[str]:
    lines = [one_line(view.note.replace(NOTICE, "").strip())] if view.note else []
    lines += ["You are:", *_agent(view.agent)]
    if view.messages:
        lines += [
            f"{counted(len(view.messages), 'message')}, {view.unread} more unread:",
            *flat(map(_message, view.messages)),
        ]
    elif view.unread:
        lines.append(f"{counted(view.unread, 'unread message')}: read_direct_messages")
    if view.claims:
        lines += ["You hold:", *flat(map(held, view.claims))]
    if view.ready:
        lines += ["Ready for you:", *flat(map(listed_item, view.ready))]
    return [*lines, "Channels: " + ", ".join(f"#{each.name} ({each.messages})" for each in view.channels)]


def _offered(view: Offered) -> str:
    again = " (offered before: nothing new was made)" if view.duplicate else ""
    who = one_line(view.note) if view.note else f"{counted(view.eligible, 'live agent')} could take it."
    return f"{view.id} (task {name(view.task_id)}) is {view.status}{again}; {who}"


def _inbox(view: Inbox) -> list[str]:
    return [
        f"{counted(len(view.messages), 'message')}; {view.unread} more unread.",
        *flat(map(_message, view.messages)),
        *_more(view.next_cursor),
    ]


def _message(message: MessageView) -> list[str]:
    about = facts(
        ("", name(message.message_type)),
        ("importance", "" if message.importance == "normal" else message.importance),
        ("reply to", message.reply_to),
        ("wants an", "ack" if message.ack_required else ""),
        ("shown", "before" if message.redelivered else ""),
    )
    who = message.sender.handle + (" (a person)" if message.sender.person else "")
    return [
        f"{message.id} from {who} at {at(message.timestamp)}: {about}",
        *quoted(message.message),
        *json_line("metadata", message.metadata),
        *_cut(message.id, message.truncated, message.next_offset, message.chars),
    ]


def _history(view: History) -> list[str]:
    lines = [f"{counted(len(view.messages), 'message')}, oldest first."]
    for message in view.messages:
        about = facts(
            ("importance", "" if message.importance == "normal" else message.importance),
            ("reply to", message.reply_to),
        )
        lines += [
            f"{message.id} from {message.handle} at {at(message.timestamp)}{': ' * bool(about)}{about}",
            *quoted(message.message),
            *json_line("metadata", message.metadata),
            *_cut(message.id, message.truncated, message.next_offset, message.chars),
        ]
    lines += [f"older: cursor {view.next_cursor}"] if view.next_cursor else []
    return lines + ([f"only what comes later: cursor {view.new_cursor}"] if view.new_cursor else [])


def _agent(agent: AgentView) -> list[str]:
    about = facts(
        ("", name(agent.agent_type)),
        ("", agent.status),
        ("capabilities", listed(agent.capabilities)),
        ("boundaries", listed(agent.boundaries)),
        ("free", agent.free),
        ("works on", listed(agent.current_work)),
        ("on", name(agent.hostname)),
        ("project", agent.project_id),
        ("last seen", at(agent.last_seen)),
    )
    return [f"{agent.handle} ({agent.guid}): {about}", *json_line("metadata", agent.metadata)]


def _channel(channel: ChannelView) -> str:
    about = facts(("messages", channel.messages), ("last", at(channel.last_at)), ("", one_line(channel.description)))
    return f"#{channel.name} {about}".strip()


def _events(view: Events) -> list[str]:
    lines = [f"{each.kind} {each.id}: {one_line(each.summary)}" for each in view.events]
    state = f"{view.unread} unread, {view.ready} ready"
    return [
        *(lines or [f"Nothing happened in {view.waited_seconds:g} s."]),
        f"{state}; go on with cursor {view.cursor}",
    ]


def _more(cursor: str | None) -> list[str]:
    return [f"more: cursor {cursor}"] if cursor else []


def _cut(number: str, truncated: bool, next_offset: int, chars: int) -> list[str]:
    return [f"(read on with id {number} and offset {next_offset}; {chars} characters in all)"] if truncated else []
