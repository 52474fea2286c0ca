"""What runs underneath: memory, native objects, threads, launches, random streams."""
