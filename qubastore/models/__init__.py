"""Models: how users name them, how images become their inputs, what tells one from another, and the zoo."""
