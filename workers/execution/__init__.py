"""Executes one delivery: decide, call one model once, report the outcome."""
