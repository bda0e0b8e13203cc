"""What Aftercall does per second and per processor: `make bench` compares, `bench.cost` counts, each other one part."""
