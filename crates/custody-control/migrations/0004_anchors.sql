-- How far the cluster had come when its node last told, as JSON: ids and numbers alone. A node opens nothing below it (rule 6).
ALTER TABLE clusters ADD COLUMN anchor TEXT;
-- Somebody decided that it is opened below its anchor, the next time.
ALTER TABLE clusters ADD COLUMN below_anchor INTEGER NOT NULL DEFAULT 0;
