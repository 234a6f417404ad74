"""A network as a list of steps, and the sessions that train and apply it."""
