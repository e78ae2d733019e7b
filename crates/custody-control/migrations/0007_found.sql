-- JSON: what a drop found of its cluster before it destroyed anything. A pass that is cut is repeated, and finds less.
ALTER TABLE jobs ADD COLUMN found TEXT;
