"""What `mcpctl launch` and its kin do on Fly: a plan that can be shown, carried out, resumed and undone."""
