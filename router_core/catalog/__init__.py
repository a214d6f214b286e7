"""The catalog: backends, models, roles, tasks, groups and policies, and their validation."""
