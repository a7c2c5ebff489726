"""HTTP brings bytes to uploads: each way is a module, over one `append`."""
