-- The queue of files, a search that stays fast over years of talk, and what a file session must know to go on exactly.

ALTER TABLE sessions ADD COLUMN heard_language TEXT;    -- the language that was detected, once it is certain

ALTER TABLE sessions ADD COLUMN digest TEXT;            -- SHA-256 of a file's bytes, once all of them are here

DROP INDEX sessions_by_created;
CREATE INDEX sessions_by_owner ON sessions (owner, created DESC, id);
CREATE INDEX sessions_finished ON sessions (created) WHERE state IN ('completed', 'failed', 'cancelled');

-- Owners whose files are not worked on for now.
CREATE TABLE paused (
    owner TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Work that is to be done at leisure, and after a restart if it was not finished.
CREATE TABLE chores (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What a search finds: segments, and of each session its newest summary.
CREATE TABLE lines (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id),
    source TEXT NOT NULL CHECK (source IN ('segment', 'summary')),
    segment INTEGER NOT NULL,
    start REAL NOT NULL,
    "end" REAL NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE INDEX lines_by_session ON lines (session, source);

-- Both indexes hold no text of their own. Words: of scripts without spaces each character is one. Trigrams: of texts in
-- such scripts alone, where three characters in a row are much rarer than each of them.
CREATE VIRTUAL TABLE words USING fts5 (text, content = '', tokenize = 'unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE trigrams USING fts5 (text, content = '', tokenize = 'trigram');

INSERT INTO lines (session, source, segment, start, "end", text)
SELECT session, 'segment', segment, start, "end", text FROM said ORDER BY rowid;
INSERT INTO lines (session, source, segment, start, "end", text)
SELECT events.session, 'summary', 0, 0, sessions.duration_s, summary_text(events.body)
FROM events JOIN sessions ON sessions.id = events.session
WHERE events.type = 'final_summary' AND events.seq = (
    SELECT max(seq) FROM events AS later WHERE later.session = events.session AND later.type = 'final_summary'
);
INSERT INTO words (rowid, text) SELECT id, spaced(text) FROM lines;
INSERT INTO trigrams (rowid, text) SELECT id, text FROM lines WHERE unspaced(text);
DROP TABLE said;
