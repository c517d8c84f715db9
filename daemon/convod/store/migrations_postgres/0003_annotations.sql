-- What migrations/0007 makes in SQLite: what is known of a segment beside it, and who speakers are.

CREATE TABLE annotations (
    session TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    segment BIGINT NOT NULL,
    speaker BIGINT,                         -- NULL while nobody said who it is
    by_hand SMALLINT NOT NULL DEFAULT 0,    -- 1 if a user said who it is
    text TEXT,                              -- NULL unless it was corrected
    PRIMARY KEY (session, segment)
);

CREATE INDEX annotations_by_speaker ON annotations (session, speaker);

CREATE TABLE speakers (
    session TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    speaker BIGINT NOT NULL,
    name TEXT,                              -- NULL: as its number says
    folded TEXT,                            -- the name without case and accents, for searches
    into_speaker BIGINT,                    -- who it was found to be
    PRIMARY KEY (session, speaker)
);

-- Voices that an owner asked to be remembered: the sum of embeddings of unit length, by the model that made them.
CREATE TABLE voices (
    owner TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    model TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    vector BYTEA NOT NULL,                  -- little-endian 32-bit floats
    PRIMARY KEY (owner, name)
);

-- A segment's line is found without a look at all the others of its session.
DROP INDEX lines_by_session;
CREATE INDEX lines_by_session ON lines (session, source, segment);
