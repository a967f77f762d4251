"""From an image file to the pixels that a model takes: sizes and boxes, and the decoders that follow them."""
