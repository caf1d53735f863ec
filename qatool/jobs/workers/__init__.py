"""Workers in other processes: processes of this machine, Ray actors, and the pools that manage them."""
