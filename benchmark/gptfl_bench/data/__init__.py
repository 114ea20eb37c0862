"""What a data set is: samples, a task, how clients share it, where it is looked for."""
