"""Kept audio: to its owner, in pieces, as it was sent; to nobody else, and not before the session is over."""

from __future__ import annotations

import pytest

from convo.codec import Json
from convo.messages import Audio, AudioFormat, Code, EndSession, Error, GetAudio, GetAudioReply, SessionState
from convod.listen import history_requests
from convod.listen.auth import SCOPES, Grant
from tests.daemon.support.hall import hall
from tests.daemon.support.talk import talk

SOUND = talk(1)


async def spoken(place, peer, **fields):
    """The id of a live session that is over."""
    session = (await place.live(peer, **fields)).session
    await peer.send(Audio(session=session, offset=0, data=SOUND))
    await peer.ask(EndSession, session=session)
    await peer.until(lambda one: isinstance(one, SessionState) and one.state.final and one.session == session)
    return session


async def test_an_owner_gets_it_in_pieces(autojump_clock, tmp_path, monkeypatch):
    monkeypatch.setattr(history_requests, "AUDIO_BYTES", 50_000)
    async with hall(tmp_path) as place:
        peer = await place.client()
        session = await spoken(place, peer, keep_audio=True)
        data, offset = b"", 0
        while offset is not None:
            reply = await peer.ask(GetAudio, session=session, offset=offset)
            assert isinstance(reply, GetAudioReply)
            assert (reply.size, reply.kind, reply.audio.rate) == (len(SOUND), "live", 16000)
            data += reply.data
            offset = reply.next
        assert data == SOUND
        behind = await peer.ask(GetAudio, session=session, offset=1 << 62)
        assert (behind.data, behind.next) == (b"", None)
        admin = await place.client(grant=Grant("root", SCOPES["admin"]))
        for other in (admin, await place.client(owner="you")):
            assert (await other.ask(GetAudio, session=session)).code == Code.UNKNOWN_SESSION


@pytest.mark.parametrize("over", [False, True])
async def test_what_was_not_kept_or_is_not_over_is_refused(autojump_clock, tmp_path, over):
    async with hall(tmp_path) as place:
        peer = await place.client()
        session = await spoken(place, peer) if over else (await place.live(peer, keep_audio=True)).session
        if not over:
            await peer.send(Audio(session=session, offset=0, data=SOUND))
        error = await peer.ask(GetAudio, session=session)
        assert isinstance(error, Error)
        assert (error.code, "keep_audio" in error.message) == (Code.BAD_STATE, True)


def test_it_is_base64_in_json():
    reply = GetAudioReply(id=1, data=b"\xff\x00", size=2, kind="live", audio=AudioFormat())
    assert b'"data":"/wA="' in Json().encode(reply)
