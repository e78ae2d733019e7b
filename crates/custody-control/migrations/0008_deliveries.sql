-- What is due is asked for whenever a delivery has ended, among all that ever were.
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
