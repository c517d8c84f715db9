-- What is written with each event is small: the configuration, which may be long, and what seldom changes lie elsewhere.

CREATE TABLE configs (
    session TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    config TEXT NOT NULL                -- JSON: the create_session that opened it, with the defaults then in force
) STRICT, WITHOUT ROWID;

INSERT INTO configs SELECT id, config FROM sessions;

CREATE TABLE progress (
    session TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    duration_s REAL NOT NULL,
    ended INTEGER NOT NULL,             -- 1 once end_session came: the spool holds all audio there will be
    audio_bytes INTEGER NOT NULL,       -- bytes that were received
    kept_bytes INTEGER NOT NULL,        -- bytes that are in the spool
    text_bytes INTEGER NOT NULL,        -- bytes of its configuration and its events
    seq INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    mark_sample INTEGER NOT NULL,       -- audio before this sample is accounted for
    mark_utterance INTEGER NOT NULL     -- utterances before this one are accounted for
) STRICT, WITHOUT ROWID;

INSERT INTO progress
SELECT
    id, duration_s, ended, audio_bytes, 0,
    length(CAST(config AS BLOB)) + (SELECT coalesce(sum(length(body)), 0) FROM events WHERE session = id),
    seq, segments, mark_sample, mark_utterance
FROM sessions;

ALTER TABLE sessions DROP COLUMN config;
ALTER TABLE sessions DROP COLUMN duration_s;
ALTER TABLE sessions DROP COLUMN ended;
ALTER TABLE sessions DROP COLUMN audio_bytes;
ALTER TABLE sessions DROP COLUMN seq;
ALTER TABLE sessions DROP COLUMN segments;
ALTER TABLE sessions DROP COLUMN mark_sample;
ALTER TABLE sessions DROP COLUMN mark_utterance;

-- For lists of everybody's sessions, and for the oldest of one owner that are over.
CREATE INDEX sessions_by_created ON sessions (created DESC, id);
DROP INDEX sessions_finished;
CREATE INDEX sessions_finished ON sessions (created, owner) WHERE state IN ('completed', 'failed', 'cancelled');

-- Marks and summaries are found without reading all that was said.
CREATE INDEX events_by_type ON events (session, type, seq) WHERE segment IS NULL;
