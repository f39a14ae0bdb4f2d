"""One module for each file format; `common.io.opening` chooses among them."""
