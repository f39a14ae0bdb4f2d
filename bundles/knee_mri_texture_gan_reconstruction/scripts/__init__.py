"""What is peculiar to the knee bundle: its objectives."""
