"""Study tools: what a trained network's certainty and features look like. Each is a program of its own."""
