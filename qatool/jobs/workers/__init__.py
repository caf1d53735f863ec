"""Workers elsewhere: processes of this machine, Ray actors, and what keeps them in hand."""
