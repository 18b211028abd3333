"""Face alignment: markups, readers, metrics and the problem itself."""
