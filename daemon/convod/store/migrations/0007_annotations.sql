-- What is known of a segment beside it: who says it by its newest label, and what it is to read. And what speakers are
-- called, in a session and wherever their owner's talks are heard.

CREATE TABLE annotations (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    speaker INTEGER,                    -- NULL while nobody said who it is
    by_hand INTEGER NOT NULL DEFAULT 0, -- 1 if a user said who it is
    text TEXT,                          -- NULL unless it was corrected
    PRIMARY KEY (session, segment)
) STRICT, WITHOUT ROWID;

CREATE INDEX annotations_by_speaker ON annotations (session, speaker);

CREATE TABLE speakers (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    speaker INTEGER NOT NULL,
    name TEXT,                          -- NULL: as its number says
    folded TEXT,                        -- the name without case and accents, for searches
    into_speaker INTEGER,               -- who it was found to be
    PRIMARY KEY (session, speaker)
) STRICT, WITHOUT ROWID;

-- Voices that an owner asked to be remembered: the sum of embeddings of unit length, by the model that made them.
CREATE TABLE voices (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    created REAL NOT NULL,
    seconds REAL NOT NULL,
    vector BLOB NOT NULL,               -- little-endian 32-bit floats
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

INSERT INTO annotations (session, segment, speaker)
SELECT events.session, json_extract(label.value, '$[0]'), json_extract(label.value, '$[1]')
FROM events, json_each(labels(events.body)) AS label
WHERE events.type IN ('speaker_label', 'speakers_revised')
ORDER BY events.session, events.seq
ON CONFLICT (session, segment) DO UPDATE SET speaker = excluded.speaker;

-- A segment's line is found without a look at all the others of its session.
DROP INDEX lines_by_session;
CREATE INDEX lines_by_session ON lines (session, source, segment);
