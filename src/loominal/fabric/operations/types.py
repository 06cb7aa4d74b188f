"""What arguments and answers of the operations have in common."""

from __future__ import annotations

from typing import Annotated

import msgspec

from loominal.model.message import Importance

Limit100 = Annotated[int, msgspec.Meta(ge=1, le=100)]
Limit1000 = Annotated[int, msgspec.Meta(ge=1, le=1000)]
WaitSeconds = Annotated[float, msgspec.Meta(ge=0, le=50)]
Offset = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]

__all__ = ["Arguments", "Importance", "Limit100", "Limit1000", "Offset", "Text", "View", "WaitSeconds"]


class Arguments(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What a caller passes; an unknown name is refused."""


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an operation answers, or an entry of it."""
