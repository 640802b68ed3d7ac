"""What speaks OpenAI's API: chat completions and the list of models, answered by the very same router as the tools."""
