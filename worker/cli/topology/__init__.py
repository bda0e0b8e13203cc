"""`aftercall topology`: what the broker is to have, and who may do what there."""
