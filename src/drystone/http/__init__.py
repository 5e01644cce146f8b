"""What all web edges have in common: connections, bodies, uploads, callers, errors, limits. Knows no route of theirs."""
