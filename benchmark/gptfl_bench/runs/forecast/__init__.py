"""What a run is going to take, said before it starts: cells, data, traffic and time."""
