"""What a run folder holds, written by the engine and read without torch."""
