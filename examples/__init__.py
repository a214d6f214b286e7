"""Things to run from the checkout."""
