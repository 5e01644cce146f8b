"""What every room stands on: settings, database sessions, errors, ids, clock, logs. No domain words here."""
