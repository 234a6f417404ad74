"""How a network is trained: starts, loops, schedules and stopping."""
