-- Sessions, their stored events, and a full-text index over what was said.

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('live', 'file')),
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    duration_s REAL NOT NULL DEFAULT 0,
    key TEXT,
    config TEXT NOT NULL,               -- JSON: the create_session that opened it, with the defaults then in force
    ended INTEGER NOT NULL DEFAULT 0,   -- 1 once end_session came: the spool holds all audio there will be
    audio_bytes INTEGER NOT NULL DEFAULT 0,     -- bytes that were received
    seq INTEGER NOT NULL DEFAULT 0,
    segments INTEGER NOT NULL DEFAULT 0,
    mark_sample INTEGER NOT NULL DEFAULT 0,     -- audio before this sample is accounted for
    mark_utterance INTEGER NOT NULL DEFAULT 0   -- utterances before this one are accounted for
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX sessions_by_key ON sessions (owner, key) WHERE key IS NOT NULL;
CREATE INDEX sessions_by_created ON sessions (created);
CREATE INDEX sessions_unfinished ON sessions (state) WHERE state NOT IN ('completed', 'failed', 'cancelled');

CREATE TABLE events (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    segment INTEGER,                    -- of a transcript_segment
    body BLOB NOT NULL,                 -- the message as it was sent
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_segment ON events (session, segment) WHERE segment IS NOT NULL;

-- Trigrams find parts of words, and words of scripts that put no spaces between them.
CREATE VIRTUAL TABLE said USING fts5 (
    text, session UNINDEXED, segment UNINDEXED, start UNINDEXED, "end" UNINDEXED, tokenize = 'trigram'
);
