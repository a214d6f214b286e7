"""The operator's page: what the fleet does now, in sections that renew themselves, and what an operator may press."""
