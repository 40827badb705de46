"""The commands, one file for each noun; `add_to(commands)` adds a module's parsers."""
