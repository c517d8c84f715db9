"""Live captions and summaries on your own machine: the messages, the connection and the clients.

`convo.connect` connects under trio, `convo.asyncio_client.connect` under asyncio. The messages of the contract
are here by name; `convo.connection`, `convo.framing` and `convo.formats` are for those who build their own.
Importing this package imports no loop and opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    CannotConnect,
    ConnectionLost,
    ConvoError,
    EventsLost,
    LocalProtocolError,
    RemoteProtocolError,
    RequestError,
)
from .messages import (
    ActionItem,
    AddMark,
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    AudioFormat,
    Bookmark,
    CancelSession,
    Code,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    DurableEvent,
    EndSession,
    Error,
    Event,
    Export,
    ExportReply,
    Finalize,
    FinalizeReply,
    FinalSummary,
    GetSession,
    GetSessionReply,
    Hello,
    Hit,
    Limits,
    ListModels,
    ListModelsReply,
    ListSessions,
    ListSessionsReply,
    ListSummaries,
    ListSummariesReply,
    Mark,
    Message,
    ModelInfo,
    ModelProgress,
    Origin,
    Ping,
    PingReply,
    Progress,
    PullModel,
    PullModelReply,
    Reply,
    Request,
    RollingSummary,
    Search,
    SearchReply,
    Section,
    Segment,
    SessionInfo,
    SessionRenamed,
    SessionState,
    SessionWarning,
    SpeechEnded,
    SpeechStarted,
    State,
    Status,
    StatusReply,
    StorageStatus,
    StoredSummary,
    Summarize,
    Summary,
    SummaryDelta,
    SummaryOptions,
    TranscriptPartial,
    TranscriptSegment,
    Welcome,
    Word,
)

if TYPE_CHECKING:
    from . import asyncio_client, trio_client
    from .address import default_url
    from .client import Client, ClientSession
    from .trio_client import connect

__version__ = "0.1.0"

# Imported when first used: a loop costs more time than everything else here.
_LATER = {
    "Client": "client",
    "ClientSession": "client",
    "asyncio_client": "",
    "connect": "trio_client",
    "default_url": "address",
    "trio_client": "",
}

__all__ = [
    "ActionItem",
    "AddMark",
    "Attach",
    "AttachReply",
    "Audio",
    "AudioAck",
    "AudioFormat",
    "Bookmark",
    "CancelSession",
    "CannotConnect",
    "Client",
    "ClientSession",
    "Code",
    "ConnectionLost",
    "ConvoError",
    "CreateSession",
    "CreateSessionReply",
    "DeleteSession",
    "Detach",
    "DurableEvent",
    "EndSession",
    "Error",
    "Event",
    "EventsLost",
    "Export",
    "ExportReply",
    "FinalSummary",
    "Finalize",
    "FinalizeReply",
    "GetSession",
    "GetSessionReply",
    "Hello",
    "Hit",
    "Limits",
    "ListModels",
    "ListModelsReply",
    "ListSessions",
    "ListSessionsReply",
    "ListSummaries",
    "ListSummariesReply",
    "LocalProtocolError",
    "Mark",
    "Message",
    "ModelInfo",
    "ModelProgress",
    "Origin",
    "Ping",
    "PingReply",
    "Progress",
    "PullModel",
    "PullModelReply",
    "RemoteProtocolError",
    "Reply",
    "Request",
    "RequestError",
    "RollingSummary",
    "Search",
    "SearchReply",
    "Section",
    "Segment",
    "SessionInfo",
    "SessionRenamed",
    "SessionState",
    "SessionWarning",
    "SpeechEnded",
    "SpeechStarted",
    "State",
    "Status",
    "StatusReply",
    "StorageStatus",
    "StoredSummary",
    "Summarize",
    "Summary",
    "SummaryDelta",
    "SummaryOptions",
    "TranscriptPartial",
    "TranscriptSegment",
    "Welcome",
    "Word",
    "asyncio_client",
    "connect",
    "default_url",
    "trio_client",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = _LATER[name]
    value = getattr(import_module(f".{home}", __name__), name) if home else import_module(f".{name}", __name__)
    globals()[name] = value
    return value
