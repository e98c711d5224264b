"""Ask a table: a file becomes a columnar table, a question becomes one SELECT, and no row ever reaches a model."""
