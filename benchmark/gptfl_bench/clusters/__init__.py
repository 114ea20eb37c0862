"""Cells on other machines: workers of Dask, and jobs of Slurm by submitit."""
