"""The console: pages for a browser, rendered here. Reads without JavaScript; translates, calls a room, shows what it said."""
