"""`aftercall alerts`: the rules, what they would have told, and a first message."""
