-- The alias by which a key was added. The key's own ARN is what counts; calls that asked for it stand in `kms_calls` under this.
ALTER TABLE keys ADD COLUMN alias TEXT;
-- When it last decrypted for us: its grace counts from there.
ALTER TABLE keys ADD COLUMN last_success_at INTEGER NOT NULL DEFAULT 0;
-- Whether it was told that its grace is ending: once for each time that it can't be reached.
ALTER TABLE keys ADD COLUMN grace_told INTEGER NOT NULL DEFAULT 0;
-- What is wrong besides its status, and does not keep it from being used.
ALTER TABLE keys ADD COLUMN warning TEXT;
-- When it is looked at next whether its role lets in who shows no external id, or another.
ALTER TABLE keys ADD COLUMN next_strangers_at INTEGER NOT NULL DEFAULT 0;

UPDATE keys SET last_success_at = checked_at;

CREATE INDEX kms_calls_by_time ON kms_calls (at);
