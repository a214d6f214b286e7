"""The parts of a torture run: its plan, the processes it torments, and how."""
