"""Webhooks: events told to somebody else's server, signed, in order, until it has heard them."""
