"""Image files: decoding, databars, archives, resizing, stacks."""
