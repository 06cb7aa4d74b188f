"""What the model of a headless client is told about its item."""

from __future__ import annotations

import msgspec

from loominal.fabric.operations.work import WorkView

TEXT = """\
You do one work item of Loominal. Nobody watches, so ask nothing and decide for yourself what is left open.
You have joined already: do not call join or claim_work. Work in the present directory.

Item {id}, attempt {attempt} of {attempts}, boundary {boundary}, offered by {offered_by}:

{description}
{context}
When it is done, end with a message that says what you did and what came of it: that is recorded as the result.
Where a program is to read the result, call the tool complete_work with workId "{id}", a summary and the result instead,
and end: it is recorded then.
If you cannot do it, call fail_work with workId "{id}" and say why; do not pretend.
"""
CONTEXT = """
Its data:

{data}
"""


def prompt(item: WorkView) -> str:
    """Return the whole prompt; what the item's offerer wrote stands in it as it is."""
    data = msgspec.json.format(msgspec.json.encode(item.context_data)).decode()
    return TEXT.format(
        id=item.id,
        attempt=item.attempt,
        attempts=item.max_attempts,
        boundary=item.boundary,
        offered_by=item.offered_by or "somebody",
        description=item.description,
        context=CONTEXT.format(data=data) if item.context_data else "",
    )
