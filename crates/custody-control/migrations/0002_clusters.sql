-- What the nodes tell, kept so that a restart of the control plane knows what was known.

-- RUNNING or ABNORMAL, once its node has told; what an alert was raised for last.
ALTER TABLE clusters ADD COLUMN status TEXT;
ALTER TABLE clusters ADD COLUMN status_reason TEXT;
-- The ids of zones that are dark in a cluster that serves, with commas between them.
ALTER TABLE clusters ADD COLUMN dark_zones TEXT NOT NULL DEFAULT '';
-- Its key was revoked, and the key's owner wants a person to open it again.
ALTER TABLE clusters ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
-- What it was before it was dropped, for undrop.
ALTER TABLE clusters ADD COLUMN phase_before TEXT;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- PENDING, PENDING_APPROVAL, RUNNING, SUCCESSFUL, FAILED, CANCELED.
    status TEXT NOT NULL,
    -- Hundredths.
    progress INTEGER NOT NULL DEFAULT 0,
    message TEXT,
    -- JSON: what a drop leaves behind.
    receipt TEXT,
    created_at INTEGER NOT NULL,
    -- Not begun before.
    due_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

CREATE INDEX jobs_of_project ON jobs (project_id, created_at);
CREATE INDEX jobs_of_cluster ON jobs (cluster_id);
