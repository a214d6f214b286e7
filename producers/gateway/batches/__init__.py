"""Batches of the gateway: a runner submits their lines, writes their answers to the disk, and ends them."""
