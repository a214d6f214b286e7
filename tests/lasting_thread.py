"""A thread from which the tests start what must end with them."""

from concurrent.futures import ThreadPoolExecutor

LASTING_THREAD = ThreadPoolExecutor(1)
"""Linux ends a child with the thread that started it. This thread lives as long as the process."""
