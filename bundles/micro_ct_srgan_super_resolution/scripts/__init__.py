"""What is peculiar to this bundle: whether the pore space is right."""
