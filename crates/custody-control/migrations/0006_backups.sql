-- Backups. What was in one is written in its manifest, which is sealed with it: here are ids and figures.
CREATE TABLE backups (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id),
    -- No reference: a backup outlives its cluster. What is known of the cluster is as it was then.
    cluster_id TEXT NOT NULL,
    cluster_name TEXT NOT NULL,
    region_id TEXT NOT NULL,
    cu_type TEXT NOT NULL,
    cu_size INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- CLUSTER, or COLLECTION if only some were chosen.
    kind TEXT NOT NULL,
    -- MANUAL, AUTO.
    method TEXT NOT NULL,
    -- CREATING, AVAILABLE, DELETING. One that failed is no backup.
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- When it was complete.
    ended_at INTEGER,
    -- When it is deleted by itself.
    expires_at INTEGER,
    size INTEGER NOT NULL DEFAULT 0,
    -- Of these bytes, what no earlier backup had.
    copied INTEGER NOT NULL DEFAULT 0,
    objects INTEGER NOT NULL DEFAULT 0,
    databases INTEGER NOT NULL DEFAULT 0,
    collections INTEGER NOT NULL DEFAULT 0,
    -- JSON: zones that were sealed then and are not in it, each with why.
    omitted TEXT NOT NULL DEFAULT '[]',
    -- SHA-256 of the manifest, in hexadecimal digits: what is restored is this one and no other.
    manifest TEXT
) STRICT;

CREATE INDEX backups_of_cluster ON backups (cluster_id, created_at);
CREATE INDEX backups_of_project ON backups (project_id, created_at);

-- The root keys that a backup is opened with, and the way to each. A key of the project is known by its ARN: one that was
-- deleted here and added again is the same key.
CREATE TABLE backup_keys (
    backup_id TEXT NOT NULL REFERENCES backups (id) ON DELETE CASCADE,
    -- 0 is the cluster's own; the others are of databases.
    position INTEGER NOT NULL,
    provider TEXT NOT NULL,
    arn TEXT NOT NULL,
    role_arn TEXT,
    region_id TEXT NOT NULL,
    PRIMARY KEY (backup_id, position)
) STRICT;

CREATE INDEX backup_keys_by_arn ON backup_keys (arn);

-- When backups of a cluster are made by themselves.
CREATE TABLE backup_policies (
    cluster_id TEXT PRIMARY KEY NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    enabled INTEGER NOT NULL,
    -- Days of the week, 1 to 7 from Monday, with commas between them.
    frequency TEXT NOT NULL,
    -- Hours in UTC, such as 02:00-04:00.
    start_time TEXT NOT NULL,
    retention_days INTEGER NOT NULL,
    -- Every time up to here has been seen to.
    seen_at INTEGER NOT NULL
) STRICT;

-- The backup that a job makes, restores or deletes.
ALTER TABLE jobs ADD COLUMN backup_id TEXT;
-- JSON: how it is done. Never a name: what was chosen by name is kept in memory alone.
ALTER TABLE jobs ADD COLUMN terms TEXT;
-- Somebody wants it given up.
ALTER TABLE jobs ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_of_backup ON jobs (backup_id) WHERE backup_id IS NOT NULL;

-- Whether encrypted backups may be restored without encryption: allow, deny.
ALTER TABLE projects ADD COLUMN decrypted_restore TEXT NOT NULL DEFAULT 'allow';

-- A rule for all kinds of alerts is for the new kinds, too.
UPDATE alert_rules
SET kinds = '["keyStatus","keyDeletion","clusterStatus","keyGrace","externalIdNotRequired","backupFailed","decryptedRestore"]'
WHERE kinds = '["keyStatus","keyDeletion","clusterStatus","keyGrace","externalIdNotRequired"]';
