"""`aftercall dead`: dead letters, grouped by cause; look at them, replay or discard them."""
