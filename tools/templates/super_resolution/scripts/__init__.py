"""What is peculiar to this bundle: its network, its objective and its handler."""
