"""Webhooks: events told to somebody else's server, signed, until it has heard them or three days have passed."""
