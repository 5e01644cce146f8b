"""The HTTP edge, `/api/v1`: translate, call a room, translate back. No logic a room should own."""
