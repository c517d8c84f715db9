"""What one user, one file, one search, or all audio together may take; and how long what is finished is kept.

Settings alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Bytes = Annotated[int, Meta(ge=0, le=1 << 50)]
Days = Annotated[float, Meta(ge=0, le=36500)]


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[limits]`; 0 is no limit.

    `upload_bytes`: of one file. `file_s`: of one file's sound, however small the file. `sessions`: of one user that are
    in no final state; `stored_sessions`: in any. `disk_bytes`: of all audio that is kept, uploads included;
    `owner_disk_bytes`: of one user's audio and text. `search_s`: seconds of one search.
    """

    upload_bytes: Bytes = 16 << 30
    file_s: Annotated[float, Meta(ge=0, le=1e8)] = 86400.0
    sessions: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    stored_sessions: Annotated[int, Meta(ge=0, le=100_000_000)] = 100_000
    disk_bytes: Bytes = 0
    owner_disk_bytes: Bytes = 64 << 30
    search_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[retention]`; 0 keeps for ever.

    `days`: after so long a finished session is deleted whole. `bytes`: when one user's finished sessions take more,
    text and audio together, the oldest of them are deleted. `audio_days`: after so long kept audio is removed;
    `failed_audio_days`: that of a session that failed and might be retried.
    """

    days: Days = 0.0
    bytes: Bytes = 0
    audio_days: Days = 0.0
    failed_audio_days: Days = 7.0
