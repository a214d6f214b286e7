"""Which models a graphics card holds, and whose jobs are called there now."""
