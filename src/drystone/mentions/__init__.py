"""Where passages name entities of the catalogue: finding it, keeping it, and asking for it."""
