"""What people look at: the page that shows a recording. Returns text, prints nothing."""
