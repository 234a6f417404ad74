"""How compiled code is made, kept and run, whatever it computes."""
