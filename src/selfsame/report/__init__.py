"""Tables, plots and a page from the records of a run."""
