"""Files that alpha writes: the state folder, its databases and its halts."""
