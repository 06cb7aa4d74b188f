"""Which function answers which operation; `READING` are those for a weft that may write nothing."""

from __future__ import annotations

from loominal.fabric.hub import ops_policy, stats
from loominal.fabric.hub.access import ops_access, ops_machines
from loominal.fabric.hub.agents import ops_identity, ops_registry
from loominal.fabric.hub.project import Handler
from loominal.fabric.hub.spinup import ops_spin_ups, ops_targets
from loominal.fabric.hub.talk import inbox_following, ops_channels, ops_events, ops_inbox
from loominal.fabric.hub.work import (
    claiming,
    dead_letters,
    details,
    ending,
    explaining,
    following,
    previewing,
    querying,
    submitting,
)
from loominal.fabric.operations import OPERATIONS

HANDLERS: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        ops_identity.hello,
        ops_identity.set_handle,
        ops_identity.get_my_handle,
        ops_identity.join,
        ops_channels.list_channels,
        ops_channels.send_message,
        ops_channels.read_messages,
        ops_registry.register_agent,
        ops_registry.discover_agents,
        ops_registry.get_agent_info,
        ops_registry.update_presence,
        ops_registry.deregister_agent,
        ops_inbox.send_direct_message,
        ops_inbox.read_direct_messages,
        inbox_following.follow_inbox,
        submitting.broadcast_work_offer,
        previewing.preview_work_offer,
        claiming.claim_work,
        claiming.abandon_claim,
        ending.report_progress,
        ending.complete_work,
        ending.fail_work,
        ending.release_work,
        querying.list_work,
        details.get_work,
        explaining.explain_work,
        following.follow_work,
        querying.cancel_work,
        dead_letters.list_dead_letter_items,
        dead_letters.retry_dead_letter_item,
        dead_letters.discard_dead_letter_item,
        ops_events.wait_for_events,
        ops_policy.get_policy,
        ops_policy.set_policy,
        stats.list_projects,
        stats.get_stats,
        ops_access.grant_access,
        ops_access.list_grants,
        ops_access.revoke_grant,
        ops_access.revoke_agent,
        ops_access.shutdown_agent,
        ops_targets.list_targets,
        ops_targets.get_target,
        ops_targets.add_target,
        ops_targets.update_target,
        ops_targets.remove_target,
        ops_targets.enable_target,
        ops_targets.disable_target,
        ops_targets.test_target,
        ops_spin_ups.spin_up,
        ops_spin_ups.list_spin_ups,
        ops_spin_ups.get_spin_up,
        ops_machines.invite,
        ops_machines.list_machines,
        ops_machines.revoke_invitation,
        ops_machines.revoke_machine,
    )
}
READING: dict[str, Handler] = {
    **{name: handler for name, handler in HANDLERS.items() if OPERATIONS[name].reads},
    "hello": ops_identity.meet,
}
