"""preview_work_offer: what an offer would come to, by the rules of broadcast_work_offer; nothing is written."""

from __future__ import annotations

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.explaining import target_verdicts
from loominal.fabric.hub.work.submitting import check_new, first_state, new_submission, outlook
from loominal.fabric.operations.work import OfferPreview, PreviewWorkOffer
from loominal.model.work import WAITING


async def preview_work_offer(project: Project, caller: Caller, args: PreviewWorkOffer) -> OfferPreview:
    """Return who could take an item like that now. Raises: as `broadcast_work_offer`, but not for other content."""
    submission = new_submission(project, caller, args.offer)
    check_new(project, submission)
    item = first_state(project, submission)
    eligible, note = outlook(project, item)
    targets = tuple(target_verdicts(project, item)) if item.status in WAITING else ()
    return OfferPreview(status=item.status, eligible=eligible, note=note, targets=targets)
