"""Files: every format behind one reader, `Source`, and one writer, `Sink`."""
