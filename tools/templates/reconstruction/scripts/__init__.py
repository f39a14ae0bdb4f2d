"""What is peculiar to this bundle: its network and its objective."""
