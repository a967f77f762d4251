"""Models: how users name them, how images become their inputs, what identifies them, and the zoo."""
