"""Side-by-side measurements with what people would use instead; each module runs alone."""
