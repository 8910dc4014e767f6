"""Where the bytes of recordings lie, and how they become samples: files, archives, tables; nothing in them is run."""
