"""The Fly.io API: Machines, GraphQL, logs. Everything that is asked of Fly goes through here."""
