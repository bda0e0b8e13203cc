"""The loss drill: real processes, a load of calls with known ids, an adversary with a seed, and the account at the end.

`python -m worker.simulate.drill --seed 7` runs it; docs/faults.md says what the adversary does and what must hold.
"""
