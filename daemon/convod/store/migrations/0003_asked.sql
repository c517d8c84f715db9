-- Summaries that somebody asked for go on after a restart: a JSON list of summary options, until each is written.

ALTER TABLE sessions ADD COLUMN asked TEXT NOT NULL DEFAULT '[]';

CREATE INDEX sessions_asked ON sessions (created) WHERE asked <> '[]';
