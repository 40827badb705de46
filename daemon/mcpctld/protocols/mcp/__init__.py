"""Rules of the Model Context Protocol itself, per revision."""
