"""Command line of the book: run the chapters, record long experiments, build and serve the site."""
