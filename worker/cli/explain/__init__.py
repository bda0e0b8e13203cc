"""`aftercall explain`: what every place knows of one call, on one page."""
