"""What a process of Aftercall does: each role in a file of its own, and what starts, serves and ends them."""
