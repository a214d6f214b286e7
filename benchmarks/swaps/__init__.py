"""Which models cards load: our rule beside those of llama-swap and Ollama, simulated, and with real workers."""
