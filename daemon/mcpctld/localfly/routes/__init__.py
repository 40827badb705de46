"""What the API answers, a file for each noun; `table` has all of it."""
