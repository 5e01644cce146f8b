"""The MCP edge: tools and resources for models, over streamable HTTP. Translates, calls the rooms below, translates."""
