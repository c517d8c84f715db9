"""Settings `[hooks]`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class HookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[hooks]`; "" and [] are off.

    `url`: gets a POST for each session that ends, signed with the secret in `secret_file`. `command`: a program and its
    arguments, which gets the same JSON on standard input. `events`: the ends that are told. `content`: send transcript
    and summary too. `timeout_s`: how long a target may take. `give_up_days`: how long one that fails is tried again.
    """

    url: Annotated[str, Meta(pattern=r"^$|^https?://\S+$", description='an http or https URL, or "" for none')] = ""
    secret_file: str = ""
    command: list[str] = []
    events: list[Literal["completed", "failed", "cancelled"]] = msgspec.field(
        default_factory=lambda: ["completed", "failed"]
    )
    content: bool = False
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    give_up_days: Annotated[float, Meta(gt=0, le=365)] = 3.0

    @property
    def enabled(self) -> bool:
        """Whether anybody is told."""
        return bool(self.url or self.command)
