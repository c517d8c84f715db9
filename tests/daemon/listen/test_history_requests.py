"""What is read of sessions that were: owners in summaries are called as their speakers are called now."""

from __future__ import annotations

from convo.messages import (
    ActionItem,
    Audio,
    CreateSession,
    EndSession,
    Export,
    GetSession,
    ListSummaries,
    RenameSpeaker,
    SessionState,
)
from tests.daemon.sessions.test_speakers import SIDES, by_turns
from tests.daemon.support.hall import hall


async def test_owners_are_called_as_their_speakers_are_now(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        place.home.summarizers.action_items = [ActionItem(text="Pay", owner=owner) for owner in ("me", "Bob", None)]
        peer = await place.client()
        created = await peer.ask(
            CreateSession, kind="live", audio=SIDES, channels="split", channel_names=["me", "them"]
        )
        session = created.session
        await peer.send(Audio(session=session, offset=0, data=by_turns()))
        await peer.ask(EndSession, session=session)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state.final and one.session == session)
        for name, owner in [("", "me"), ("Ada", "Ada")]:
            if name:
                await peer.ask(RenameSpeaker, session=session, speaker=1, name=name)
            whole = await peer.ask(GetSession, session=session)
            listed = await peer.ask(ListSummaries, session=session)
            for summary in (whole.summary, listed.summaries[0].summary):
                assert [item.owner for item in summary.action_items] == [owner, "Bob", None]
            text = await peer.ask(Export, session=session, format="md")
            assert f"Pay ({owner})" in text.content
