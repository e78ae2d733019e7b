-- The control plane's whole memory. Times are milliseconds since 1970, UTC. No zone key, no row of a customer's data, and no
-- name of a database, collection or field ever stands here: ids do.

CREATE TABLE projects (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    plan TEXT NOT NULL,
    -- What our principal shows when it assumes a role of this project's owner: made by us, never chosen, never reused.
    external_id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    -- A PHC string of argon2id.
    password TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Who is signed in to the console.
CREATE TABLE sessions (
    -- SHA-256 of the cookie, in hexadecimal digits.
    digest TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- What a form has to carry besides the cookie.
    csrf TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    -- SHA-256 of the key, in hexadecimal digits: the key itself has 256 random bits.
    digest TEXT NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT;

-- What a user or an API key may do.
CREATE TABLE grants (
    -- The id of a user or of an API key.
    holder TEXT NOT NULL,
    -- NULL: in every project.
    project_id TEXT REFERENCES projects (id) ON DELETE CASCADE,
    role TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX grants_once ON grants (holder, ifnull(project_id, ''), role);

CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    arn TEXT NOT NULL,
    region_id TEXT NOT NULL,
    role_arn TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    checked_at INTEGER NOT NULL,
    next_check_at INTEGER NOT NULL,
    -- When KMS will delete it, if that is scheduled.
    deletion_at INTEGER,
    grace_seconds INTEGER NOT NULL,
    -- auto: clusters open again by themselves; manual: only when somebody unseals them.
    recovery TEXT NOT NULL DEFAULT 'auto',
    -- JSON lists of cluster ids, or ["*"].
    allow_clusters TEXT NOT NULL DEFAULT '["*"]',
    allow_databases TEXT NOT NULL DEFAULT '["*"]',
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, arn)
) STRICT;

-- A development key is one project's (rule 31).
CREATE UNIQUE INDEX local_keys_once ON keys (arn) WHERE provider = 'local';

CREATE TABLE key_statuses (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT
) STRICT;

-- Every call to KMS and STS, to be laid beside CloudTrail (rule 21). Kept when the key goes.
CREATE TABLE kms_calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Who called: `control`, or a cluster's id.
    caller TEXT NOT NULL,
    at INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    action TEXT NOT NULL,
    key_arn TEXT NOT NULL,
    role_arn TEXT,
    session TEXT,
    context TEXT,
    purpose TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT,
    request_id TEXT
) STRICT;

CREATE INDEX kms_calls_of_key ON kms_calls (key_arn, id);

CREATE TABLE clusters (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    region_id TEXT NOT NULL,
    cu_type TEXT NOT NULL,
    cu_size INTEGER NOT NULL,
    -- NULL: stored in plain text.
    key_id TEXT REFERENCES keys (id),
    -- creating, running, suspended, deleting: what is meant to be. What is, the node tells.
    phase TEXT NOT NULL,
    -- The node's port; free again once the cluster is gone.
    port INTEGER NOT NULL UNIQUE,
    -- SHA-256 of the token by which its node is known, in hexadecimal digits.
    token TEXT NOT NULL,
    -- The hash of root's first password, until the node has made root.
    root_hash TEXT,
    -- Sealed by hand.
    held INTEGER NOT NULL DEFAULT 0,
    deletion_protection INTEGER NOT NULL DEFAULT 0,
    -- When a dropped cluster is destroyed; until then it can be taken back.
    drop_at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

-- Keys of tenants that databases of a cluster live under, as its node reports them.
CREATE TABLE cluster_keys (
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    key_id TEXT NOT NULL REFERENCES keys (id),
    PRIMARY KEY (cluster_id, key_id)
) STRICT;

CREATE TABLE alert_rules (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- A JSON list of the kinds that it is for.
    kinds TEXT NOT NULL,
    url TEXT NOT NULL,
    -- What deliveries are signed with.
    secret TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE alerts (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- The id of the key or cluster that it is about.
    subject TEXT NOT NULL,
    message TEXT NOT NULL
) STRICT;

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY NOT NULL,
    alert_id TEXT NOT NULL REFERENCES alerts (id),
    rule_id TEXT NOT NULL REFERENCES alert_rules (id) ON DELETE CASCADE,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- NULL: delivered, or given up.
    next_at INTEGER,
    delivered_at INTEGER,
    error TEXT
) STRICT;

-- Who did what. Each entry carries the hash of the one before it, so that a change shows (rule 29).
CREATE TABLE activities (
    seq INTEGER PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    project_id TEXT,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;

CREATE TRIGGER activities_are_not_changed BEFORE UPDATE ON activities
BEGIN
    SELECT raise(ABORT, 'activities are append-only');
END;

CREATE TRIGGER activities_are_not_removed BEFORE DELETE ON activities
BEGIN
    SELECT raise(ABORT, 'activities are append-only');
END;
