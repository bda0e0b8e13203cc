"""`aftercall doctor`: one round for each thing that an installation rests on."""
