-- What a session goes on from is a checkpoint; marks are what users set.

ALTER TABLE progress RENAME COLUMN mark_sample TO checkpoint_sample;
ALTER TABLE progress RENAME COLUMN mark_utterance TO checkpoint_utterance;
