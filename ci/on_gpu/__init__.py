"""What ``ci/gpu`` measures in the minutes it is given on a GPU, and what it takes there."""
