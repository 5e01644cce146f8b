"""The ledger of work: a job is a row in PostgreSQL, the broker's message only a nudge. Knows no domain."""
