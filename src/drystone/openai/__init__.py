"""The OpenAI-compatible edge, /openai/v1: the same services as the native one, in the words of OpenAI's clients. No rules of its own."""
