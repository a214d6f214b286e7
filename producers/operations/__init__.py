"""What an operator may do to the fleet: one function for each action, for the command line and for the page.

Each leaves a line in the audit log.
"""
