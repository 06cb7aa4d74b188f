"""What an operation is: a name, two types, and who may ask for it when."""

from __future__ import annotations

import msgspec

from loominal.fabric.operations.types import Arguments, View


class Operation(msgspec.Struct, frozen=True):
    """One thing that can be asked of the hub; its name is also the tool's and the client method's."""

    name: str
    arguments: type[Arguments]
    answer: type[View]
    tool: bool = True  # agents see it as a tool
    registered: bool = False  # needs a registered agent
    operator: bool = False  # needs the role operator
    reads: bool = False  # changes nothing: observers may, repeating is free
    waits: bool = False  # may be held open
