"""Safe changes of files that others write too: nothing half written, nobody's edit lost without a word."""
