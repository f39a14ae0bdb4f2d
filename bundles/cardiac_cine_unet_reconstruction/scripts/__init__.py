"""What is peculiar to this bundle."""
