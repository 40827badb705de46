"""Servers that clients start or reach by themselves, moved behind the agent. Pure but for looking programs up."""
