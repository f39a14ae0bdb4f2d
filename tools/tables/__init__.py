"""Tables of a bundle's README: each number has a definition, is measured again, and compared with what is printed."""
