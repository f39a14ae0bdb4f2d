"""What is peculiar to RefineGAN: its objective."""
