"""Workers in other processes: processes of this machine, Ray actors, and the crews that manage them."""
