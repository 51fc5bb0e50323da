"""What the walk is made of: processes and how they end, customers, and the shop itself."""
