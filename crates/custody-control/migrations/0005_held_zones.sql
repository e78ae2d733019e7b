-- Databases' zones whose key was revoked while its owner wanted a person to open them again, with what was said of the
-- revocation. The cluster's own zone has `clusters.waits` for that.
CREATE TABLE held_zones (
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    zone_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (cluster_id, zone_id)
) STRICT;
