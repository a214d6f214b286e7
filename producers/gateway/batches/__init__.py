"""The keeper of batches: submits their lines, writes their answers to the disk, ends them."""
