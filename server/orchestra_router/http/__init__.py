"""`orchestra serve --http`: MCP, an OpenAI-compatible gateway and what operators look at, in one process."""
