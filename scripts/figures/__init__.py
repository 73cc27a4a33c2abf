"""What the pages say of each recorded benchmark: a function a passage, which gives Markdown."""
