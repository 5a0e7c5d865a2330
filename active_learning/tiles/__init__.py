"""Large images in square tiles: where they lie, how they are read, what is cut at their borders and joined again."""
