"""The judge of a torture run. Imports nothing of openfall: it reads files, and the server's own append-only file."""
