"""What outgrows one kernel: large files, Dask, scikit-learn."""
