"""What was observed of entities and when: series, their raw rows in months, and hours made of these."""
