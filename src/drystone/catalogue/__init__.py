"""The catalogue: which things there are. Entities, the modules that group them, the profiles that choose modules."""
