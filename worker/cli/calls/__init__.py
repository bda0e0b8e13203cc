"""`aftercall calls`, `export` and `replay`: what the archive has, looked at, taken out, and sent again."""
